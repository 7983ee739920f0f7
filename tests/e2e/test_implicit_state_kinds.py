"""Implicit states of every kind, in small ONNX models: in place, growing, strings, from files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc as triton

from tests.backends.test_onnxruntime import FLOAT, STRING, onnx_model
from tests.serving import serving

onnx = pytest.importorskip("onnx")

SUM = """
backend: "onnxruntime" max_batch_size: {batch}
input [ {{ name: "X" data_type: TYPE_FP32 dims: [ 2 ] }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: [ 2 ] }} ]
instance_group [ {{ kind: KIND_CPU count: {instances} }} ]
sequence_batching {{ {strategy}
  state [ {{ input_name: "S" output_name: "T" data_type: TYPE_FP32 dims: [ 2 ] {state} }} ] }}
"""
GROWING = """
backend: "onnxruntime" max_batch_size: 8
input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
sequence_batching { oldest { max_candidate_sequences: 16 max_queue_delay_microseconds: 3000 }
  state [ { input_name: "S" output_name: "T" data_type: TYPE_FP32 dims: [ -1 ]
            initial_state: { name: "nothing" data_type: TYPE_FP32 dims: [ 0 ] zero_data: true }
          } ] }
"""
WORDS = """
backend: "onnxruntime" max_batch_size: 8
input [ { name: "X" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "Y" data_type: TYPE_STRING dims: [ 1 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
sequence_batching { oldest { max_candidate_sequences: 16 }
  state [ { input_name: "S" output_name: "T" data_type: TYPE_STRING dims: [ 1 ]
            initial_state: { name: "before" data_type: TYPE_STRING dims: [ 1 ] data_file: "word" }
          } ] }
"""
SUMS = {
    "direct": SUM.format(batch=4, instances=2, strategy="direct { }", state=""),
    "oldest": SUM.format(
        batch=4, instances=2, strategy="oldest { max_candidate_sequences: 8 }", state=""
    ),
    "in_place": SUM.format(
        batch=4,
        instances=1,
        strategy="oldest { max_candidate_sequences: 8 }",
        state="use_same_buffer_for_input_output: true",
    ),
    "from_file": SUM.format(
        batch=4,
        instances=1,
        strategy="oldest { max_candidate_sequences: 8 }",
        state='initial_state: { name: "f" data_type: TYPE_FP32 dims: [ 2 ] data_file: "two" }',
    ),
}


def _write(models: Path) -> None:
    node = onnx.helper.make_node
    two, one, some = (FLOAT, ["n", 2]), (FLOAT, ["n", 1]), (FLOAT, ["n", "many"])
    word = (STRING, ["n", 1])
    for name, config in SUMS.items():
        nodes = [node("Add", ["X", "S"], ["T"]), node("Identity", ["T"], ["Y"])]
        onnx_model(models / name, nodes, {"X": two, "S": two}, {"Y": two, "T": two}, config)
    nodes = [node("Concat", ["S", "X"], ["Y"], axis=1), node("Identity", ["Y"], ["T"])]
    onnx_model(models / "growing", nodes, {"X": one, "S": some}, {"Y": some, "T": some}, GROWING)
    nodes = [node("Identity", ["S"], ["Y"]), node("Identity", ["X"], ["T"])]
    onnx_model(models / "words", nodes, {"X": word, "S": word}, {"Y": word, "T": word}, WORDS)
    for name, file, data in (
        ("from_file", "two", struct.pack("<2f", 100, 200)),
        ("words", "word", struct.pack("<I", 5) + b"first"),
    ):
        (models / name / "initial_state").mkdir()
        (models / name / "initial_state" / file).write_bytes(data)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("states")
    _write(folder / "models")
    with serving(folder / "server.log", folder / "models") as server:
        assert server.ports is not None
        yield triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")


def step(client: Any, model: str, value: np.ndarray, sequence: int, at: int, last: int) -> Any:
    tensor = triton.InferInput("X", list(value.shape), "BYTES" if value.dtype == object else "FP32")
    tensor.set_data_from_numpy(value)
    answer = client.infer(
        model,
        [tensor],
        sequence_id=sequence,
        sequence_start=at == 0,
        sequence_end=at == last,
    )
    return answer.as_numpy("Y")


@pytest.mark.parametrize("model", list(SUMS))
def test_sums_of_many_sequences(client: Any, model: str) -> None:
    before = np.array([[100, 200]] if model == "from_file" else [[0, 0]], np.float32)

    def one(sequence: int) -> None:
        total = before.copy()
        for at in range(10):
            value = np.array([[sequence, at]], np.float32)
            total += value
            np.testing.assert_array_equal(step(client, model, value, sequence, at, 9), total)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(1, 41)))


def test_states_that_grow_share_batches_only_where_they_are_equal(client: Any) -> None:
    def one(sequence: int) -> None:
        for at in range(2 + sequence % 5):
            value = np.array([[10 * sequence + at]], np.float32)
            got = step(client, "growing", value, sequence, at, 1 + sequence % 5)
            assert got.tolist() == [[10 * sequence + n for n in range(at + 1)]]

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(1, 81)))


def test_strings_are_states_too(client: Any) -> None:
    def one(sequence: int) -> None:
        previous = b"first"
        for at in range(6):
            word = b"%d of %d" % (at, sequence)
            value = np.array([[word]], np.object_)
            assert step(client, "words", value, sequence, at, 5).tolist() == [[previous]]
            previous = word

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(1, 33)))
