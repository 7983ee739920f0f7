"""Warm-up from end to end: what models see of it, and that nobody else sees anything."""

from __future__ import annotations

import json
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient import grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from bench.targets.pyserver import Pyserver
from tests.serving import counters, grpc_client, serving
from tests.waiting import wait_until

PROGRAM = Path(__file__).parent / "warm_up_models" / "witness.py"
FOLDER = 'parameters { key: "folder" value { string_value: "%s" } }\n'
TENSORS = """\
input [ { name: "X" data_type: TYPE_INT32 dims: [ 2 ] } ]
output [ { name: "OUT" data_type: TYPE_INT32 dims: [ 2 ] } ]
"""
SEQUENCE = """\
sequence_batching { control_input [
  { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
  { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY int32_false_true: [ 0, 1 ] } ] },
  { name: "END" control [ { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } ] },
  { name: "ID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] } ] }
"""
ONNX = """\
max_batch_size: 4
model_warmup [ { name: "ones" batch_size: 2 count: 3 inputs { key: "A" value {
  data_type: TYPE_FP32 dims: [ 4 ] random_data: true } } } ]
"""


def sample(name: str, data: str, *more: str, rows: int = 1, count: int = 1) -> str:
    tensor = f'inputs {{ key: "X" value {{ data_type: TYPE_INT32 dims: [ 2 ] {data} }} }}'
    return f'{{ name: "{name}" batch_size: {rows} count: {count} {tensor} {" ".join(more)} }}'


def control(name: str, data: str) -> str:
    return f'inputs {{ key: "{name}" value {{ data_type: TYPE_INT32 dims: [ 1 ] {data} }} }}'


ZERO, FILE = "zero_data: true", 'input_data_file: "numbers"'
MODELS = {
    "two_samples": ("", [sample("a", ZERO, rows=3), sample("b", FILE, count=2)], 2),
    "fails": ('parameters { key: "raises" value { string_value: "" } }', [sample("bad", ZERO)], 1),
    "dies": ('parameters { key: "dies" value { string_value: "" } }', [sample("bad", ZERO)], 1),
    "hangs": ('parameters { key: "hangs" value { string_value: "" } }', [sample("bad", ZERO)], 1),
    "decoupled": (
        "model_transaction_policy { decoupled: true }"
        ' parameters { key: "decoupled" value { string_value: "" } }',
        [sample("many", ZERO, rows=2)],
        1,
    ),
    "sequence": (
        SEQUENCE,
        [
            sample("whole", ZERO, rows=2),
            sample(
                "given",
                ZERO,
                control("START", ZERO),
                control("ID", "random_data: true").replace("INT32", "UINT64"),
            ),
        ],
        1,
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warm_up")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Pyserver]:
    repository = folder / "models"
    for name, (more, samples, instances) in MODELS.items():
        home = repository / name
        (home / "1").mkdir(parents=True)
        (home / "1" / "model.py").write_text(PROGRAM.read_text())
        (home / "warmup").mkdir()
        (home / "warmup" / "numbers").write_bytes(struct.pack("<2i", 5, 6))
        (home / "config.pbtxt").write_text(
            f'backend: "python" max_batch_size: 4\n{TENSORS}{more}\n{FOLDER % folder}'
            f"instance_group [ {{ kind: KIND_CPU count: {instances} }} ]\n"
            f"model_warmup [ {', '.join(samples)} ]\n"
        )
    with serving(
        folder / "server.log",
        repository,
        "--model-control-mode=explicit",
        "--exit-timeout-secs=10",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Pyserver) -> Iterator[Any]:
    with grpc_client(server) as made:
        yield made


def seen(folder: Path, model: str) -> list[dict[str, Any]]:
    """What the model's instances were given, in order: one entry for each execute."""
    path = folder / f"{model}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def books(server: Pyserver) -> dict[str, int]:
    """The engine's own counters."""
    found: dict[str, int] = counters(server)["engine"]
    return found


def test_each_instance_runs_each_sample_before_the_model_is_ready(
    client: Any, folder: Path, server: Pyserver
) -> None:
    client.load_model("two_samples")
    expected = [[[[0, 0]]] * 3, [[[5, 6]]], [[[5, 6]]]]
    found = seen(folder, "two_samples")
    assert len({each["pid"] for each in found}) == 2
    for pid in {each["pid"] for each in found}:
        assert [each["X"] for each in found if each["pid"] == pid] == expected
    figures = client.get_inference_statistics("two_samples", as_json=True)["model_stats"][0]
    assert "execution_count" not in figures and "batch_stats" not in figures
    assert not any(count for count in figures["inference_stats"].values())
    wait_until(lambda: books(server)["own_bytes"] == 0, what="core's region to be empty")
    assert books(server)["live_requests"] == books(server)["live_batches"] == 0
    tensor = triton.InferInput("X", [1, 2], "INT32")
    tensor.set_data_from_numpy(np.array([[7, 8]], np.int32))
    assert client.infer("two_samples", [tensor]).as_numpy("OUT").tolist() == [[7, 8]]
    assert len(seen(folder, "two_samples")) == 7


def test_an_instance_that_was_restarted_is_warmed_up_again(
    client: Any, folder: Path, server: Pyserver
) -> None:
    client.load_model("two_samples")
    before = len(seen(folder, "two_samples"))
    pids = {each["pid"] for each in seen(folder, "two_samples")}
    os.kill(next(iter(pids)), signal.SIGKILL)
    wait_until(lambda: len(seen(folder, "two_samples")) == before + 3, what="a warm-up")
    again = seen(folder, "two_samples")[before:]
    assert [each["X"] for each in again] == [[[[0, 0]]] * 3, [[[5, 6]]], [[[5, 6]]]]
    assert len({each["pid"] for each in again}) == 1 and again[0]["pid"] not in pids


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (
            "fails",
            "Failed to process the request(s) for model 'fails_0_0', message: ValueError: no",
        ),
        ("dies", "instance 'dies_0_0' of model 'dies' version 1 exited with code 3"),
    ],
)
def test_what_goes_wrong_fails_the_load(client: Any, model: str, text: str) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.load_model(model)
    assert f"failed to run warmup sample 'bad': {text}" in refused.value.message()
    assert not client.is_model_ready(model)


def test_a_decoupled_model_answers_as_often_as_it_likes(client: Any, folder: Path) -> None:
    client.load_model("decoupled")
    assert client.is_model_ready("decoupled")
    assert [each["X"] for each in seen(folder, "decoupled")] == [[[[0, 0]]] * 2]


def test_control_tensors_tell_of_a_whole_sequence_unless_they_are_given(
    client: Any, folder: Path
) -> None:
    with pytest.raises(InferenceServerException, match="requested model 'sequence'"):
        client.get_inference_statistics("sequence")
    client.load_model("sequence")
    whole, given = seen(folder, "sequence")
    assert whole["START"] == whole["READY"] == whole["END"] == [[[1]], [[1]]]
    assert whole["ID"] == [[[1]], [[2]]]
    assert given["START"] == [[[0]]]
    assert given["READY"] == given["END"] == [[[1]]]
    assert given["ID"] != [[[1]]]


def test_a_server_whose_warm_up_hangs_can_be_ended(folder: Path, server: Pyserver) -> None:
    """The fixture's end finds the load still under way, and wants exit code 0."""
    assert server.ports is not None
    with grpc.insecure_channel(f"127.0.0.1:{server.ports.grpc}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        asked = service_pb2.RepositoryModelLoadRequest(model_name="hangs")
        call = stub.RepositoryModelLoad.future(asked)
        wait_until(lambda: seen(folder, "hangs") != [], what="a warm-up that hangs")
        assert not call.done()
        assert not stub.ModelReady(service_pb2.ModelReadyRequest(name="hangs")).ready
        call.cancel()


def test_an_onnx_model_is_warmed_up(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = tmp_path / "models" / "doubled"
    (folder / "1").mkdir(parents=True)
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["A", "A"], ["TWICE"])],
        "test",
        [info("A", 1, ["n", 4])],
        [info("TWICE", 1, ["n", 4])],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "1/model.onnx"
    )
    (folder / "config.pbtxt").write_text(ONNX)
    log = tmp_path / "server.log"
    with serving(log, tmp_path / "models") as server:
        assert server.ports is not None
        with triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
            assert client.is_model_ready("doubled")
            figures = client.get_inference_statistics("doubled", as_json=True)["model_stats"][0]
            assert "execution_count" not in figures
    assert "warmed up 'doubled' version 1" in log.read_text()
