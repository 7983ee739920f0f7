"""A hundred version swaps under load: no request fails, each answer comes from one version, and on
one connection never an older one after a newer.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from pathlib import Path
from typing import Any, Protocol

import grpc
import pytest
from tritonclient import grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.serving import serving
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

SWAPS = 100
CLIENTS = 16
CONFIG = """
backend: "python"
max_batch_size: 8
input [ { name: "X" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "Y" data_type: TYPE_INT32 dims: [ 1 ] } ]
dynamic_batching { }
"""
# Every row of an answer holds the number of the version that made it.
MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.version = int(args["model_version"])

    def execute(self, requests):
        answers = []
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            made = np.full(given.shape, self.version, np.int32)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", made)]))
        return answers
"""


def write_version(model: Path, version: int) -> None:
    folder = model / str(version)
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(MODEL)


class Asks(Protocol):
    def ask(self) -> tuple[int, list[int]]:
        """The version that the answer names, and those that made its rows."""

    def close(self) -> None: ...


class Client(threading.Thread):
    """One connection, one request in flight; `seen` are the versions that answered, in order."""

    def __init__(self, over: threading.Event, connection: Asks) -> None:
        super().__init__(daemon=True)
        self.over = over
        self.connection = connection
        self.seen: list[int] = []
        self.failures: list[str] = []

    def run(self) -> None:
        with contextlib.closing(self.connection):
            while not self.over.is_set():
                try:
                    said, made = self.connection.ask()
                except Exception as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                    continue
                if set(made) != {said}:
                    self.failures.append(f"version {said} answered {made}")
                if self.seen and said < self.seen[-1]:
                    self.failures.append(f"version {said} after {self.seen[-1]}")
                if not self.seen or said != self.seen[-1]:
                    self.seen.append(said)


class OverHttp:
    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        tensor = {"name": "X", "datatype": "INT32", "shape": [3, 1], "data": [0, 0, 0]}
        self.body = json.dumps({"inputs": [tensor]})

    def ask(self) -> tuple[int, list[int]]:
        self.connection.request("POST", "/v2/models/m/infer", self.body)
        answer: dict[str, Any] = json.loads(self.connection.getresponse().read())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return int(answer["model_version"]), answer["outputs"][0]["data"]

    def close(self) -> None:
        self.connection.close()


class OverGrpc:
    def __init__(self, port: int) -> None:
        # A connection of its own: channels with equal options share one.
        options = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self.service = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        self.request = service_pb2.ModelInferRequest(model_name="m")
        self.request.inputs.add(name="X", datatype="INT32", shape=[2, 1])
        self.request.raw_input_contents.append(bytes(8))

    def ask(self) -> tuple[int, list[int]]:
        answer = self.service.ModelInfer(self.request, timeout=30)
        made = memoryview(answer.raw_output_contents[0]).cast("i").tolist()
        return int(answer.model_version), made

    def close(self) -> None:
        self.channel.close()


def test_a_hundred_swaps_under_load_lose_and_mix_nothing(tmp_path: Path) -> None:
    model = tmp_path / "models" / "m"
    write_version(model, 1)
    (model / "config.pbtxt").write_text(CONFIG)
    over = threading.Event()
    with serving(
        tmp_path / "server.log",
        tmp_path / "models",
        "--model-control-mode=explicit",
        "--load-model=m",
        "--frontend-workers=2",
    ) as server:
        assert server.ports is not None
        ports = server.ports
        clients = [
            Client(over, OverHttp(ports.http) if number % 2 else OverGrpc(ports.grpc))
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        with triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as control:
            for version in range(2, SWAPS + 2):
                write_version(model, version)
                control.load_model("m")
                # From its return on, everybody is answered by the new one.
                newest = [client.seen[-1:] for client in clients]
                assert all(one in ([], [version - 1], [version]) for one in newest), newest
            index = control.get_model_repository_index(as_json=True)["models"]
        wait_until(
            lambda: all(client.seen[-1:] == [SWAPS + 1] for client in clients),
            timeout_s=30,
            what="the last version's answers",
        )
        over.set()
        for client in clients:
            client.join(30)
    assert [failure for client in clients for failure in client.failures] == []
    assert sum(len(client.seen) for client in clients) > SWAPS
    assert [one["version"] for one in index if one["state"] == "READY"] == [str(SWAPS + 1)]
