"""What the benchmark's harness relies on in every target: requests that judge their answers, and
what is laid out. A server that is installed is also asked; pyserver always is.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest

from bench import kserve
from bench.asking import check
from bench.deployment import Deployment
from bench.loads.direct import Direct
from bench.targets import nghttpd, nginx
from bench.targets.environment import Environment
from bench.targets.litserve import LitServe
from bench.targets.mlserver import MLServer
from bench.targets.mosec import Mosec
from bench.targets.onnxruntime_direct import OnnxruntimeDirect
from bench.targets.onnxruntime_loop import Command
from bench.targets.process import ServerProcess
from bench.targets.table import TARGETS
from bench.workload import GrpcRequest, HttpRequest, Wire, Workload

MODELS = (
    "identity",
    "identity_any",
    "identity_bytes",
    "python_identity",
    "python_add",
    "minilm",
    "repeat",
    "python_plain",
    "python_any",
    "python_bytes",
    "bls_exec",
    "bls_async_exec",
    "bls_gather",
)
KSERVE = set(Wire)
FLOATS = {"identity", "identity_any", "python_identity", "python_add", "minilm"}
SMALL = {"identity", "python_identity"}
# What each can be asked: its models, and its wires.
ABILITIES: dict[str, tuple[set[str], set[Wire]]] = {
    "pyserver": (set(MODELS), KSERVE),
    "triton": (set(MODELS), KSERVE),
    "mlserver": (FLOATS | {"identity_bytes"}, {Wire.JSON, Wire.GRPC}),
    "litserve": (FLOATS, {Wire.JSON}),
    "mosec": (FLOATS, {Wire.JSON, Wire.BINARY}),
    "nginx": (SMALL, {Wire.BINARY}),
    "nghttpd": (SMALL, {Wire.GRPC}),
    "onnxruntime": (set(), set()),
}


def test_the_table_names_each_target_as_it_names_itself() -> None:
    assert {name: target.name for name, target in TARGETS.items()} == {
        name: name for name in TARGETS
    }
    assert all(target.install for target in TARGETS.values())


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_asked_for_what_it_can_do_and_for_nothing_else(
    name: str, tmp_path: Path
) -> None:
    target = TARGETS[name](tmp_path / "log")
    models, wires = ABILITIES[name]
    for model in MODELS:
        for wire in Wire:
            request = target.request(Workload(model, wire))
            assert (request is not None) == (model in models and wire in wires), (model, wire)
            if isinstance(request, HttpRequest):
                assert wire in (Wire.JSON, Wire.BINARY)
                assert request.path.startswith("/") and request.body
            elif isinstance(request, GrpcRequest):
                assert wire in (Wire.GRPC, Wire.STREAM)
                assert request.path.startswith(kserve.SERVICE) and request.message
                assert not request.right([])


@pytest.mark.parametrize("target", [Mosec, LitServe])
def test_plain_json_is_judged_by_its_values(target: type[ServerProcess], tmp_path: Path) -> None:
    request = target(tmp_path / "log").request(Workload("python_add", Wire.JSON))
    assert isinstance(request, HttpRequest)
    given = json.loads(request.body)
    total = [2 * one for one in given["INPUT0"]]
    assert request.right(json.dumps({"OUTPUT0": total}).encode())
    assert not request.right(json.dumps({"OUTPUT0": [*total[:-1], 0]}).encode())
    assert not request.right(json.dumps({"OUTPUT0": total[:-1]}).encode())


def test_plain_bytes_are_judged_too(tmp_path: Path) -> None:
    request = Mosec(tmp_path / "log").request(Workload("minilm", Wire.BINARY, 8))
    assert isinstance(request, HttpRequest)
    states = numpy.ones(8 * 384, numpy.float32)
    assert request.right(states.tobytes())
    assert not request.right(states[1:].tobytes())
    states[5] = numpy.nan
    assert not request.right(states.tobytes())


def test_the_constants_of_nginx_and_nghttpd_are_right_answers(tmp_path: Path) -> None:
    posted = nginx.Nginx(tmp_path / "log").request(Workload("identity", Wire.BINARY))
    called = nghttpd.Nghttpd(tmp_path / "log").request(Workload("identity", Wire.GRPC))
    assert isinstance(posted, HttpRequest) and isinstance(called, GrpcRequest)
    assert posted.right(nginx.ANSWER)
    assert not posted.right(nginx.ANSWER[:-1] + b"\0")
    nghttpd.Nghttpd(tmp_path / "log").lay_out(Deployment(("identity",)), tmp_path)
    frame = (tmp_path / called.path.removeprefix("/")).read_bytes()
    assert frame[:5] == b"\0" + (len(frame) - 5).to_bytes(4, "big")
    assert called.right([frame[5:]])


def test_mlserver_has_a_folder_for_each_copy_of_what_it_knows(tmp_path: Path) -> None:
    deployment = Deployment(("identity", "repeat", "python_add"), copies=2)
    path, flags = MLServer(tmp_path / "log").lay_out(deployment, tmp_path)
    assert (path, flags) == (tmp_path, ())
    found = {file.parent.name for file in path.glob("*/model-settings.json")}
    assert found == {"identity_0", "identity_1", "python_add_0", "python_add_1"}
    settings = json.loads((path / "python_add_1" / "model-settings.json").read_text())
    assert settings == {"name": "python_add_1", "implementation": "add.Add"}
    assert (path / "python_add_1" / "add.py").exists()


@pytest.mark.parametrize("target", [Mosec, LitServe])
def test_servers_without_a_repository_get_a_description(
    target: type[ServerProcess], tmp_path: Path
) -> None:
    deployment = Deployment(("identity", "repeat"), instances=3)
    path, _ = target(tmp_path / "log").lay_out(deployment, tmp_path)
    described = json.loads(path.read_text())
    assert described == {"models": {"identity": "identity"}, "instances": 3, "weights": None}


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in ("pyserver", "triton")])
def test_a_target_without_any_of_the_models_says_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has none of the models repeat"):
        TARGETS[name](tmp_path / "log").lay_out(Deployment(("repeat",)), tmp_path)


def test_a_home_counts_as_installed_when_all_of_these_versions_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYSERVER_MOSEC_HOME", str(tmp_path))
    home = Environment("mosec")
    assert home.home == tmp_path and not home.installed()
    (tmp_path / "installed.txt").write_text(home.requirements.read_text())
    assert home.installed()
    (tmp_path / "installed.txt").write_text("mosec==0.1\n")
    assert not home.installed()


# pyserver is always installed; the others are where somebody has installed them, which CI has not.
@pytest.mark.parametrize(
    "name", [name for name, one in TARGETS.items() if name != "onnxruntime" and one.installed()]
)
def test_an_installed_server_answers_rightly(name: str, tmp_path: Path) -> None:
    target = TARGETS[name](tmp_path / "log")
    (tmp_path / "served").mkdir()
    path, flags = target.lay_out(Deployment(("identity",)), tmp_path / "served")
    try:
        target.start(path, extra=flags)
        target.wait_ready()
        for wire in Wire:
            workload = Workload("identity", wire)
            if target.request(workload) is not None:
                check(target, workload)
    finally:
        target.stop()


def test_onnxruntime_is_commanded_and_counts_rows(tmp_path: Path) -> None:
    target = OnnxruntimeDirect(tmp_path / "log")
    path, flags = target.lay_out(Deployment(("minilm",)), tmp_path)
    workload = Workload("minilm", Wire.BINARY, 8)
    try:
        target.start(path, extra=flags)
        with pytest.raises(RuntimeError, match="not ready"):
            target.run(Command(seconds=0, batch_size=1, tokens=8))
        target.wait_ready()
        with pytest.raises(RuntimeError, match="max_workers"):
            target.run(Command(seconds=0, batch_size=1, tokens=8, threads=0))
        seen = Direct(batch_size=3, threads=2, intra_op_threads=1).prepare(target, workload, 0)()
        assert (seen.requests, seen.bad) == (6, 0)
    finally:
        target.stop()


def test_onnxruntime_is_for_minilm_and_its_load_for_onnxruntime(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not for minilm on mosec"):
        Direct().prepare(Mosec(tmp_path / "log"), Workload("minilm", Wire.BINARY), 1)
    with pytest.raises(RuntimeError, match="not for identity on onnxruntime"):
        Direct().prepare(OnnxruntimeDirect(tmp_path / "log"), Workload("identity", Wire.JSON), 1)
