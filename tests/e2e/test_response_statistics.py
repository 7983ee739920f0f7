"""What the statistics tell of each response of decoupled models, by its place."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http

from tests.serving import serving

MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            count = int(pb_utils.get_input_tensor_by_name(request, "COUNT").as_numpy()[0])
            for number in range(abs(count)):
                tensor = pb_utils.Tensor("NUMBER", np.array([number], np.int32))
                sender.send(pb_utils.InferenceResponse([tensor]))
            if count < 0:
                error = pb_utils.TritonError("enough")
                sender.send(pb_utils.InferenceResponse([], error))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
"""
CONFIG = """
backend: "python"
input [ { name: "COUNT" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "NUMBER" data_type: TYPE_INT32 dims: [ 1 ] } ]
model_transaction_policy { decoupled: true }
instance_group [ { kind: KIND_CPU count: 1 } ]
"""


def stream(address: str, counts: list[int]) -> None:
    """Sends the requests one after the other, and waits for all that each is answered."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with grpc.InferenceServerClient(address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for count in counts:
            tensor = grpc.InferInput("COUNT", [1], "INT32")
            tensor.set_data_from_numpy(np.array([count], np.int32))
            client.async_stream_infer("many", [tensor], enable_empty_final_response=True)
            for _ in range(abs(count) + 1 + (count < 0)):
                answers.get(timeout=30)
        client.stop_stream()


def test_each_response_is_counted_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "models" / "many" / "1").mkdir(parents=True)
    (tmp_path / "models" / "many" / "config.pbtxt").write_text(CONFIG)
    (tmp_path / "models" / "many" / "1" / "model.py").write_text(MODEL)
    with serving(tmp_path / "server.log", tmp_path / "models") as server:
        assert server.ports is not None
        address = f"127.0.0.1:{server.ports.grpc}"
        stream(address, [2, 1, 0, -1])
        with http.InferenceServerClient(f"127.0.0.1:{server.ports.http}") as client:
            (told,) = client.get_inference_statistics("many")["model_stats"]
        with grpc.InferenceServerClient(address) as client:
            stats = client.get_inference_statistics("many").model_stats[0].response_stats
    counts = {
        place: {name: figure["count"] for name, figure in figures.items()}
        for place, figures in told["response_stats"].items()
    }
    none = dict.fromkeys(
        ("compute_infer", "compute_output", "success", "fail", "empty_response", "cancel"), 0
    )
    made = ("compute_infer", "compute_output", "success")
    assert counts == {
        "0": none | dict.fromkeys(made, 3) | {"empty_response": 1},
        "1": none | dict.fromkeys(made, 1) | {"empty_response": 1, "fail": 1},
        "2": none | {"empty_response": 2},
    }
    assert told["response_stats"]["0"]["success"]["ns"] > 0
    assert {place: one.success.count for place, one in stats.items()} == {"0": 3, "1": 1, "2": 0}
