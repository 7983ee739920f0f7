"""The response cache from end to end: answers that are given again, and such that must not be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as http
from tritonclient import grpc

from tests.serving import serving

# Answers with the bytes, datatype and shape that it saw, and how often it was asked before. It
# waits where the model's folder has a file "hold".
MODEL = """
import os, time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.times = 0
        self.hold = os.path.join(args["model_repository"], "hold")

    def execute(self, requests):
        responses = []
        for request in requests:
            while os.path.exists(self.hold):
                time.sleep(0.005)
            self.times += 1
            saw = ["?"]
            for name in ("I", "F"):
                tensor = pb_utils.get_input_tensor_by_name(request, name)
                if tensor is not None:
                    array = tensor.as_numpy()
                    saw = [f"{name} {array.dtype} {list(array.shape)} {array.tobytes().hex()}"]
            responses.append(pb_utils.InferenceResponse([
                pb_utils.Tensor("SAW", np.array([saw], dtype=object)),
                pb_utils.Tensor("TIMES", np.array([[self.times]], np.int32)),
                pb_utils.Tensor("DATA", np.full((1, 1000), self.times, np.float32)),
            ]))
        return responses
"""
CONFIG = """
backend: "python" max_batch_size: 0
input [ { name: "I" data_type: TYPE_INT32 dims: [ -1, -1 ] optional: true },
        { name: "F" data_type: TYPE_FP32 dims: [ -1, -1 ] optional: true } ]
output [ { name: "SAW" data_type: TYPE_STRING dims: [ -1, 1 ] },
         { name: "TIMES" data_type: TYPE_INT32 dims: [ 1, 1 ] },
         { name: "DATA" data_type: TYPE_FP32 dims: [ 1, 1000 ] } ]
response_cache { enable: true }
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    (folder / "models" / "kept" / "1").mkdir(parents=True)
    (folder / "models" / "kept" / "config.pbtxt").write_text(CONFIG)
    (folder / "models" / "kept" / "1" / "model.py").write_text(MODEL)
    return folder / "models"


@pytest.fixture(scope="module")
def clients(repository: Path) -> Iterator[tuple[Any, Any]]:
    flags = ("--cache-config=local,size=2000000", "--frontend-workers=2")
    with serving(repository.parent / "server.log", repository, *flags) as server:
        assert server.ports is not None
        with (
            http.InferenceServerClient(f"127.0.0.1:{server.ports.http}", concurrency=8) as plain,
            grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as streams,
        ):
            yield plain, streams


def ask(client: Any, name: str, value: np.ndarray, **more: Any) -> Any:
    protocol = http if isinstance(client, http.InferenceServerClient) else grpc
    datatype = "INT32" if name == "I" else "FP32"
    tensor = protocol.InferInput(name, list(value.shape), datatype)
    tensor.set_data_from_numpy(value)
    return client.infer("kept", [tensor], **more)


def times(answer: Any) -> int:
    return int(answer.as_numpy("TIMES")[0, 0])


def test_asked_again_over_either_protocol(clients: tuple[Any, Any]) -> None:
    value = np.array([[1, 2, 3]], np.int32)
    first = ask(clients[0], "I", value)
    for client in (*clients, *clients):
        again = ask(client, "I", value, request_id="another")
        assert times(again) == times(first)
        np.testing.assert_array_equal(again.as_numpy("DATA"), first.as_numpy("DATA"))
        assert again.as_numpy("SAW").tolist() == first.as_numpy("SAW").tolist()


def test_equal_bytes_of_another_shape_or_datatype_are_another_request(
    clients: tuple[Any, Any],
) -> None:
    raw = np.arange(100, 106, dtype=np.int32)
    asked = [("I", raw.reshape(shape)) for shape in [(1, 6), (2, 3), (3, 2), (6, 1)]]
    asked += [("F", array.view(np.float32)) for _, array in asked]
    for client in clients:
        for name, value in asked:
            answer = ask(client, name, value)
            saw = f"{name} {value.dtype} {list(value.shape)} {value.tobytes().hex()}"
            assert answer.as_numpy("SAW").ravel().tolist() == [saw.encode()]


def test_parameters_and_outputs_are_part_of_the_request(clients: tuple[Any, Any]) -> None:
    value = np.array([[7]], np.int32)
    seen = {times(ask(clients[0], "I", value))}
    seen.add(times(ask(clients[0], "I", value, parameters={"word": "yes"})))
    seen.add(times(ask(clients[0], "I", value, parameters={"word": "no"})))
    assert len(seen) == 3
    only = ask(clients[0], "I", value, outputs=[http.InferRequestedOutput("TIMES")])
    assert only.as_numpy("SAW") is None
    assert times(only) not in seen


def test_equal_requests_in_progress_are_executed_once(
    clients: tuple[Any, Any], repository: Path
) -> None:
    hold = repository / "kept" / "hold"
    hold.touch()
    before = statistics(clients[1])
    value = np.array([[8, 9]], np.int32)
    arrived = threading.Barrier(9)

    def one(_: int) -> int:
        arrived.wait()
        return times(ask(clients[1], "I", value))  # the other client is of one thread

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(one, number) for number in range(8)]
        arrived.wait()
        hold.unlink()
        assert len({answer.result() for answer in answers}) == 1
    after = statistics(clients[1])
    assert after.inference_count - before.inference_count == 1
    stats = after.inference_stats
    assert stats.cache_hit.count - before.inference_stats.cache_hit.count == 7
    assert stats.cache_miss.count - before.inference_stats.cache_miss.count == 1
    assert stats.success.count - before.inference_stats.success.count == 8


def test_it_has_an_end(clients: tuple[Any, Any]) -> None:
    first = times(ask(clients[1], "I", np.array([[1000]], np.int32)))
    for number in range(1001, 1600):  # 5 KB each, of 2 MB
        ask(clients[1], "I", np.array([[number]], np.int32))
    assert times(ask(clients[1], "I", np.array([[1599]], np.int32))) > first + 500
    assert times(ask(clients[1], "I", np.array([[1000]], np.int32))) > first + 500


def statistics(client: Any) -> Any:
    return client.get_inference_statistics("kept").model_stats[0]
