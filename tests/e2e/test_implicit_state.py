"""A real model with implicit state: Silero VAD hears 200 voices at once, each over a stream, and
says of each what it says when it hears that one alone.

Its state is [2, batch, 128]. One model is served as it is, a sequence at a time; for the other the
state's dimensions are turned around the file's graph, so that sequences share batches.
"""

from __future__ import annotations

import importlib.util
import queue
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc as triton

from tests.serving import serving

PACKAGE = importlib.util.find_spec("silero_vad")
pytestmark = pytest.mark.skipif(
    PACKAGE is None, reason="needs: pip install --no-deps silero-vad==6.2.3"
)

RATE, CONTEXT, CHUNK, CHUNKS = 16000, 64, 512, 12
STREAMS, VOICES_PER_STREAM = 20, 10
VOICES = STREAMS * VOICES_PER_STREAM

ALONE = """
backend: "onnxruntime"
input [ { name: "input" data_type: TYPE_FP32 dims: [ 1, 576 ] },
        { name: "sr" data_type: TYPE_INT64 dims: [ 1 ] } ]
output [ { name: "output" data_type: TYPE_FP32 dims: [ 1, 1 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  oldest { max_candidate_sequences: 256 }
  state [ { input_name: "state" output_name: "stateN" data_type: TYPE_FP32 dims: [ 2, 1, 128 ]
            initial_state: { name: "silence" data_type: TYPE_FP32 dims: [ 2, 1, 128 ]
                             zero_data: true } } ]
}
"""
TOGETHER = """
backend: "onnxruntime" max_batch_size: 16
input [ { name: "input" data_type: TYPE_FP32 dims: [ 576 ] } ]
output [ { name: "output" data_type: TYPE_FP32 dims: [ 1 ] },
         { name: "rowsN" data_type: TYPE_FP32 dims: [ 2, 128 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  oldest { max_candidate_sequences: 256 max_queue_delay_microseconds: 2000 }
  state [ { input_name: "rows" output_name: "rowsN" data_type: TYPE_FP32 dims: [ 2, 128 ]
            initial_state: { name: "silence" data_type: TYPE_FP32 dims: [ 2, 128 ]
                             data_file: "silence" } } ]
}
"""


def weights() -> Path:
    assert PACKAGE is not None
    assert PACKAGE.submodule_search_locations
    return Path(PACKAGE.submodule_search_locations[0]) / "data" / "silero_vad_16k_op15.onnx"


def turn_states(source: Path, target: Path) -> None:
    """`state` [2, batch, 128] becomes `rows` [batch, 2, 128]; the sample rate is a constant."""
    import onnx

    model = onnx.load(source)
    graph = model.graph
    graph.initializer.append(onnx.helper.make_tensor("sr", onnx.TensorProto.INT64, [], [RATE]))
    graph.node.insert(0, onnx.helper.make_node("Transpose", ["rows"], ["state"], perm=[1, 0, 2]))
    graph.node.append(onnx.helper.make_node("Transpose", ["stateN"], ["rowsN"], perm=[1, 0, 2]))
    for tensors, dropped, added in (
        (graph.input, ("state", "sr"), "rows"),
        (graph.output, ("stateN",), "rowsN"),
    ):
        kept = [tensor for tensor in tensors if tensor.name not in dropped]
        del tensors[:]
        tensors.extend(kept)
        shape = ["batch", 2, 128]
        tensors.append(onnx.helper.make_tensor_value_info(added, onnx.TensorProto.FLOAT, shape))
    onnx.save(model, target)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("silero")
    for name, config in (("alone", ALONE), ("together", TOGETHER)):
        (folder / "models" / name / "1").mkdir(parents=True)
        (folder / "models" / name / "config.pbtxt").write_text(config)
    shutil.copy(weights(), folder / "models" / "alone" / "1" / "model.onnx")
    turn_states(weights(), folder / "models" / "together" / "1" / "model.onnx")
    (folder / "models" / "together" / "initial_state").mkdir()
    (folder / "models" / "together" / "initial_state" / "silence").write_bytes(bytes(2 * 128 * 4))
    with serving(folder / "server.log", folder / "models") as server:
        assert server.ports is not None
        yield f"127.0.0.1:{server.ports.grpc}"


def voice(number: int) -> np.ndarray:
    """Chunks of a made voice, [CHUNKS, 1, 576]: harmonics that come and go, over noise."""
    generator = np.random.default_rng(number)
    time = np.arange(CONTEXT + CHUNK * CHUNKS) / RATE
    pitch = 80 + 180 * generator.random()
    tone = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in range(1, 12))
    loud = np.clip(np.sin(2 * np.pi * (2 + number % 5) * time + number), 0, 1)
    sound = 0.2 * tone * loud + 0.01 * generator.standard_normal(time.size)
    starts = range(0, CHUNK * CHUNKS, CHUNK)
    return np.stack([sound[at : at + CONTEXT + CHUNK] for at in starts])[:, None].astype(np.float32)


def heard_directly(number: int) -> list[float]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(weights(), options)
    state = np.zeros((2, 1, 128), np.float32)
    heard = []
    for chunk in voice(number):
        given = {"input": chunk, "state": state, "sr": np.array(RATE, np.int64)}
        output, state = session.run(["output", "stateN"], given)
        heard.append(float(output[0, 0]))
    return heard


def inputs(model: str, chunk: np.ndarray) -> list[triton.InferInput]:
    made = [triton.InferInput("input", list(chunk.shape), "FP32")]
    made[0].set_data_from_numpy(chunk)
    if model == "alone":
        made.append(triton.InferInput("sr", [1], "INT64"))
        made[1].set_data_from_numpy(np.array([RATE], np.int64))
    return made


def listen(address: str, model: str, numbers: list[int]) -> dict[int, list[float]]:
    """Sends the voices' chunks in turns over one stream, without waiting; what was heard."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    voices = {number: voice(number) for number in numbers}
    wanted = [triton.InferRequestedOutput("output")]
    with triton.InferenceServerClient(address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for at in range(CHUNKS):
            for number in numbers:
                client.async_stream_infer(
                    model,
                    inputs(model, voices[number][at]),
                    request_id=f"{number}:{at}",
                    outputs=wanted,
                    sequence_id=number + 1,
                    sequence_start=at == 0,
                    sequence_end=at == CHUNKS - 1,
                )
        heard: dict[int, list[float]] = {number: [] for number in numbers}
        for _ in range(CHUNKS * len(numbers)):
            result, error = answers.get(timeout=120)
            assert error is None, error
            number, at = map(int, result.get_response().id.split(":"))
            assert len(heard[number]) == at, "a sequence's answers come in its order"
            heard[number].append(float(result.as_numpy("output").ravel()[0]))
        client.stop_stream()
    return heard


@pytest.mark.parametrize("model", ["alone", "together"])
def test_200_voices_at_once(address: str, model: str) -> None:
    groups = [list(range(at, VOICES, STREAMS)) for at in range(STREAMS)]
    with ThreadPoolExecutor(STREAMS) as pool:
        parts = list(pool.map(lambda group: listen(address, model, group), groups))
    heard = {number: told for part in parts for number, told in part.items()}
    assert len(heard) == VOICES
    with ThreadPoolExecutor(2) as pool:
        directly = list(pool.map(heard_directly, range(VOICES)))
    spread = np.ptp([told[-1] for told in directly])
    assert spread > 0.01, "voices that all sound alike would prove nothing"
    for number in range(VOICES):
        if model == "alone":
            assert heard[number] == directly[number]
        else:  # the kernels for several rows add up in another order
            np.testing.assert_allclose(heard[number], directly[number], atol=2e-5)
    with triton.InferenceServerClient(address) as client:
        told = client.get_inference_statistics(model).model_stats[0]
        assert told.inference_count == VOICES * CHUNKS
        if model == "together":
            assert told.execution_count < told.inference_count


def test_a_client_may_ask_for_a_state_that_is_an_output_too(address: str) -> None:
    chunk = voice(1)[0]
    with triton.InferenceServerClient(address) as client:
        answer = client.infer(
            "together", inputs("together", chunk), sequence_id=9001, sequence_start=True
        )
        first = answer.as_numpy("rowsN")
        assert first.shape == (1, 2, 128)
        assert np.any(first != 0)
        again = client.infer(
            "together", inputs("together", chunk), sequence_id=9001, sequence_end=True
        )
        assert np.any(again.as_numpy("rowsN") != first)


def test_a_state_that_is_no_output_cannot_be_asked_for(address: str) -> None:
    with triton.InferenceServerClient(address) as client:
        with pytest.raises(
            Exception, match="unexpected inference output 'stateN' for model 'alone'"
        ):
            client.infer(
                "alone",
                inputs("alone", voice(1)[0]),
                outputs=[triton.InferRequestedOutput("stateN")],
                sequence_id=9002,
                sequence_start=True,
            )
