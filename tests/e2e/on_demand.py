"""A server that loads models on demand, and models whose loads are counted and can be held up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from tritonclient import grpc as triton

from bench.targets.pyserver import Pyserver
from tests.backends.python_models import model

MODE = "--model-control-mode=on-demand"
PLAIN = "def execute(self, requests): return [answer(get(one).as_numpy()) for one in requests]"
# Each load leaves a line, and waits for a file if the model is to be held up.
COUNTED = """
def initialize(self, args):
    import os, time
    with open("{folder}/" + args["model_name"] + ".loads", "a") as lines:
        lines.write("x")
    while os.path.exists("{folder}/hold"):
        time.sleep(0.01)
    if os.path.exists("{folder}/fail"):
        raise RuntimeError("the weights are gone")
    self.memory = np.ones({megabytes} << 17)
def execute(self, requests):
    import os, time
    while os.path.exists("{folder}/busy"):
        time.sleep(0.01)
    return [answer(get(one).as_numpy()) for one in requests]
"""

ENSEMBLE = """
platform: "ensemble"
input [ { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] } ]
ensemble_scheduling { step [ { model_name: "step" model_version: -1
  input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "OUT" } } ] }
"""


def counted(folder: Path, name: str, megabytes: int = 0) -> None:
    model(folder / "models" / name, COUNTED.format(folder=folder, megabytes=megabytes))


def loads(folder: Path, name: str) -> int:
    path = folder / f"{name}.loads"
    return len(path.read_text()) if path.exists() else 0


class Server:
    """A running server, as these tests talk to it."""

    def __init__(self, server: Pyserver) -> None:
        assert server.ports is not None
        self.process = server
        self.http = server.ports.http
        self.grpc = triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")

    def get(self, path: str) -> Any:
        with urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def post(self, path: str, body: bytes = b"{}") -> tuple[int, str]:
        request = Request(f"http://127.0.0.1:{self.http}{path}", body, method="POST")
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def infer(self, name: str) -> tuple[int, str]:
        tensor = {"name": "IN", "datatype": "FP32", "shape": [2], "data": [1, 2]}
        return self.post(f"/v2/models/{name}/infer", json.dumps({"inputs": [tensor]}).encode())

    def index(self) -> dict[str, tuple[str, str]]:
        lines = json.loads(self.post("/v2/repository/index")[1])
        return {one["name"]: (one.get("state", ""), one.get("reason", "")) for one in lines}

    def state(self, name: str) -> str:
        return self.index()[name][0]

    def books(self) -> Any:
        return self.get("/v2/pyserver/counters")

    def parked(self) -> int:
        return sum(one["parked"] for one in self.books()["frontends"].values())

    def pids(self, name: str) -> set[int]:
        return {one["pid"] for one in self.books()["instances"] if one["model"] == name}


def tensor() -> triton.InferInput:
    given = triton.InferInput("IN", [2], "FP32")
    given.set_data_from_numpy(np.array([1, 2], np.float32))
    return given
