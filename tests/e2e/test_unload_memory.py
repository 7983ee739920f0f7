"""Unloading gives back every byte, and instances of one version hold their weights once.

bench/load_cycles.py does the same 200 times, with models of 90 MB: `python -m bench load-cycles`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import cpu, load_cycles
from bench.targets.pyserver import Pyserver
from tests.serving import serving

CYCLES = 15
SIDE = 2400  # 23 MB
# Of the whole server, which here has had few cycles to fill what grows once.
ALLOWED_SHARE = 0.02

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    folder = tmp_path_factory.mktemp("cycles")
    load_cycles.write_onnx_model(folder / "models", "onnx", side=SIDE)
    load_cycles.write_onnx_model(folder / "models", "onnx_four", side=SIDE, count=4)
    load_cycles.write_python_model(folder / "models", "python")
    with serving(folder / "log", folder / "models", "--model-control-mode=explicit") as running:
        yield running


@pytest.mark.parametrize(("model", "dim"), [("onnx", SIDE), ("python", 16)])
def test_load_and_unload_again_and_again_leave_nothing(
    server: Pyserver, model: str, dim: int
) -> None:
    memory = list(load_cycles.run(server, model, dim, CYCLES))
    assert load_cycles.lost(memory) == {}
    assert load_cycles.growth(memory) < ALLOWED_SHARE


def test_four_instances_of_an_onnx_model_hold_its_weights_once(server: Pyserver) -> None:
    held = {}
    for model in ("onnx", "onnx_four"):
        before = server.pids()
        load_cycles.post(server, f"/v2/repository/models/{model}/load")
        [process] = server.pids() - before
        held[model] = cpu.pss_bytes([process])
        load_cycles.post(server, f"/v2/repository/models/{model}/unload")
    weights = SIDE * SIDE * 4
    assert held["onnx_four"] - held["onnx"] < weights / 2


def test_a_process_of_many_instances_is_told_once(server: Pyserver) -> None:
    load_cycles.post(server, "/v2/repository/models/onnx_four/load")
    counters = load_cycles.counters(server)
    load_cycles.post(server, "/v2/repository/models/onnx_four/unload")
    [process] = [one for one in counters["processes"] if one["model"] == "onnx_four"]
    instances = [one for one in counters["instances"] if one["model"] == "onnx_four"]
    assert [one["pid"] for one in instances] == [process["pid"]] * 4
    assert process["instances"] == [one["name"] for one in instances]
    assert process["resident_byte_size"] >= process["proportional_byte_size"] > SIDE * SIDE * 4
