"""Models served from real S3, Azure and Google servers (tests/storage/servers.py)."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.targets.pyserver import Pyserver
from tests.serving import serving
from tests.storage.servers import SERVERS, Store, installed
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not installed(), reason="needs: make .venv/.storage (rclone, azurite and an emulator)"
)

CONFIG = b"""
backend: "python"
input [ { name: "X" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "Y" data_type: TYPE_INT32 dims: [ 1 ] } ]
"""
MODEL = b"""
import pathlib
import triton_python_backend_utils as pb_utils
import beside

class TritonPythonModel:
    def initialize(self, args):
        self.bias = int(pathlib.Path(args["model_repository"], "bias.txt").read_text())

    def execute(self, requests):
        x = [pb_utils.get_input_tensor_by_name(one, "X").as_numpy() for one in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", one + self.bias)]) for one in x]
"""


@pytest.fixture(scope="module", params=sorted(SERVERS))
def store(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Store]:
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def environment(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSERVER_CACHE_DIR", str(tmp_path / "cache"))
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)


def put_model(store: Store, name: str, bias: int) -> None:
    files = {"config.pbtxt": CONFIG, "bias.txt": str(bias).encode()}
    files |= {"1/old": b"x" * 100_000, "2/model.py": MODEL, "2/beside.py": b""}
    for path, content in files.items():
        store.put(f"{name}/{path}", content)


def ask(server: Pyserver, path: str, body: object = None) -> tuple[int, Any]:
    assert server.ports is not None
    url = f"http://127.0.0.1:{server.ports.http}/v2/{path}"
    request = urllib.request.Request(url, json.dumps(body or {}).encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def answer_to(server: Pyserver, model: str) -> int:
    tensor = {"name": "X", "shape": [1], "datatype": "INT32", "data": [1]}
    status, body = ask(server, f"models/{model}/infer", {"inputs": [tensor]})
    assert status == 200, body
    return int(body["outputs"][0]["data"][0])


def copies(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "loads").glob("*/*"))


@pytest.mark.usefixtures("environment")
def test_models_are_loaded_reloaded_and_unloaded(store: Store, tmp_path: Path) -> None:
    put_model(store, "m", 10)
    put_model(store, "other", 100)
    log = tmp_path / "log"
    flags = ("--model-control-mode=explicit", "--load-model=*")
    with serving(log, store.url, *flags) as server:  # type: ignore[arg-type]
        assert (answer_to(server, "m"), answer_to(server, "other")) == (11, 101)
        assert not any("old" in str(path) for path in (tmp_path / "cache").rglob("*")), (
            "version 1 is not served"
        )
        assert ask(server, "repository/models/m/load") == (200, None)
        assert log.read_text().count("successfully loaded 'm'") == 1, "nothing has changed"
        store.put("m/bias.txt", b"20")
        assert ask(server, "repository/models/m/load") == (200, None)
        assert answer_to(server, "m") == 21
        wait_until(lambda: len(copies(tmp_path)) == 2, what="the end of the old copy")

        store.put("m/config.pbtxt", b"nonsense {")
        status, body = ask(server, "repository/models/m/load")
        assert (status, answer_to(server, "m")) == (500, 21), body
        put_model(store, "m", 30)
        assert ask(server, "repository/models/m/load") == (200, None)
        assert answer_to(server, "m") == 31

        put_model(store, "new", 40)
        index = ask(server, "repository/index")[1]
        assert {one["name"] for one in index} == {"m", "new", "other"}
        for name in ("m", "other"):
            assert ask(server, f"repository/models/{name}/unload") == (200, None)
        wait_until(lambda: not copies(tmp_path), what="the end of all copies")
        assert ask(server, "repository/models/none/load")[0] == 500
    assert "pyserver-private-" not in str(list((tmp_path / "cache" / "loads").iterdir()))


@pytest.mark.usefixtures("environment")
def test_what_is_stopped_leaves_no_copies(store: Store, tmp_path: Path) -> None:
    put_model(store, "m", 10)
    flags = ("--model-control-mode=explicit", "--load-model=m")
    with serving(tmp_path / "log", store.url, *flags) as server:  # type: ignore[arg-type]
        assert answer_to(server, "m") == 11
        assert copies(tmp_path) != []
    assert list((tmp_path / "cache" / "loads").iterdir()) == []


@pytest.mark.usefixtures("environment")
def test_a_bucket_that_is_not_there_ends_the_start_with_its_name(
    store: Store, tmp_path: Path
) -> None:
    url = store.url.replace("models/repository", "nowhere/repository")
    failed = started(tmp_path, url)
    assert f"failed to read model repository: failed to list '{url}'" in failed


def test_a_server_that_is_not_there_is_named_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x" * 16)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x" * 16)
    failed = started(tmp_path, "s3://127.0.0.1:1/models/repository")
    assert "failed to list 's3://127.0.0.1:1/models/repository': " in failed
    assert "Could not connect" in failed


def test_keys_that_are_refused_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SERVERS["s3"](tmp_path) as store:
        put_model(store, "m", 1)
        content = {"s3": {"": {"key_id": "WRONGKEYWRONGKEY0000", "secret_key": "x" * 40}}}
        (tmp_path / "credentials").write_text(json.dumps(content))
        monkeypatch.setenv("TRITON_CLOUD_CREDENTIAL_PATH", str(tmp_path / "credentials"))
        assert f"failed to list '{store.url}': PermissionError" in started(tmp_path, store.url)
        good = {
            "key_id": store.environment["AWS_ACCESS_KEY_ID"],
            "secret_key": store.environment["AWS_SECRET_ACCESS_KEY"],
            "region": "us-east-1",
        }
        content["s3"][store.url] = good
        (tmp_path / "credentials").write_text(json.dumps(content))
        monkeypatch.setenv("PYSERVER_CACHE_DIR", str(tmp_path / "cache"))
        with serving(tmp_path / "good.log", store.url) as server:  # type: ignore[arg-type]
            assert answer_to(server, "m") == 2


def started(tmp_path: Path, url: str) -> str:
    """What a server says that does not start."""
    command = [sys.executable, "-m", "pyserver", f"--model-repository={url}"]
    command += ["--http-address=127.0.0.1", "--http-port=0"]
    command += ["--allow-grpc=false", "--allow-metrics=false"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    return done.stdout + done.stderr


def test_what_the_extra_brings_is_named_when_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hides").mkdir()
    (tmp_path / "hides" / "s3fs.py").write_text("raise ModuleNotFoundError('No s3fs here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hides"))
    failed = started(tmp_path, "s3://bucket/repository")
    assert "'s3://bucket/repository' needs s3fs, which cannot be imported" in failed
    assert "pip install 'pyserver[cloud]'" in failed


@pytest.mark.usefixtures("environment")
def test_an_environment_is_downloaded_once_and_again_when_it_is_another(store: Store) -> None:
    url = f"{store.url}/environments/own.tar.gz"
    for content in (b"first", b"second"):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            member = tarfile.TarInfo("bin/python")
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
        store.put("environments/own.tar.gz", packed.getvalue())
        told = []
        for _ in range(2):
            script = (
                "import sys; from pyserver.core.model_environment import _downloaded;"
                "print(_downloaded('m', sys.argv[1], lambda phase: print(phase)))"
            )
            done = subprocess.run(
                [sys.executable, "-c", script, url], capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, done.stderr
            told.append(done.stdout.splitlines())
        assert told[0][:2] == [
            "downloading its Python environment",
            "unpacking its Python environment",
        ]
        assert told[1] == ["downloading its Python environment", told[0][2]]
        assert (Path(told[0][2]) / "bin" / "python").read_bytes() == content
