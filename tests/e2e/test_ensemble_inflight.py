"""max_inflight_requests: a decoupled step waits for those behind it, however much it has to say."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client

from bench.targets.pyserver import Pyserver
from tests.serving import serving

LIMIT = 4
ANSWERS = 10_000
# Notes how many numbers it has sent, before it sends the next.
COUNTS = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            wanted = int(pb_utils.get_input_tensor_by_name(request, "X").as_numpy()[0])
            noted = np.memmap("NOTED", dtype=np.int32, mode="r+", shape=(1,))
            for number in range(wanted):
                noted[0] = number
                tensor = pb_utils.Tensor("OUT", np.array([number], np.int32))
                sender.send(pb_utils.InferenceResponse([tensor]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
# Tells how far the other is ahead.
LAGS = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self._noted = np.memmap("NOTED", dtype=np.int32, mode="r", shape=(1,))

    def execute(self, requests):
        values = [pb_utils.get_input_tensor_by_name(one, "X").as_numpy() for one in requests]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", self._noted[:] - value)])
            for value in values
        ]
"""
TENSORS = """
input [ { name: "X" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] } ]
"""
ENSEMBLE = f"""platform: "ensemble"
{TENSORS}
ensemble_scheduling {{
  max_inflight_requests: {LIMIT}
  step [
    {{ model_name: "counts" model_version: -1
       input_map {{ key: "X" value: "X" }} output_map {{ key: "OUT" value: "t" }} }},
    {{ model_name: "lags" model_version: -1
       input_map {{ key: "X" value: "t" }} output_map {{ key: "OUT" value: "OUT" }} }}
  ]
}}
"""
DECOUPLED = "model_transaction_policy { decoupled: true }"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    folder = tmp_path_factory.mktemp("inflight")
    noted = folder / "noted"
    np.zeros(1, np.int32).tofile(noted)
    python = f'backend: "python"{TENSORS}'
    models: tuple[tuple[str, str, str], ...] = (
        ("counts", python + DECOUPLED, COUNTS),
        ("lags", python, LAGS),
        ("held_up", ENSEMBLE, ""),
    )
    for name, config, code in models:
        version: Path = folder / "models" / name / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(config)
        if code:
            (version / "model.py").write_text(code.replace("NOTED", str(noted)))
    with serving(folder / "server.log", folder / "models") as running:
        yield running


def test_a_decoupled_step_is_never_far_ahead_of_the_one_behind_it(server: Pyserver) -> None:
    assert server.ports is not None
    heard: queue.Queue[tuple[Any, Any]] = queue.Queue()
    tensor = grpc_client.InferInput("X", [1], "INT32")
    tensor.set_data_from_numpy(np.array([ANSWERS], np.int32))
    with grpc_client.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
        client.start_stream(lambda result, error: heard.put((result, error)))
        client.async_stream_infer("held_up", [tensor])
        ahead = []
        for _ in range(ANSWERS):
            result, error = heard.get(timeout=60)
            assert error is None
            ahead.append(int(result.as_numpy("OUT")[0]))
    assert min(ahead) >= 0
    assert max(ahead) <= LIMIT
