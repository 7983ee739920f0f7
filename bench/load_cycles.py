"""One model, loaded, asked once and unloaded again and again: what stays behind after each time.

The tree's memory counts shared pages once, and no pages of files, since how they are shared depends
on what else the machine runs. Descriptors, mappings of regions and processes are
counted when the model's processes have ended; each must be what it was before.
"""

from __future__ import annotations

import http.client
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import cpu
from bench.asking import ports_of
from bench.targets.process import ServerProcess

FILLED: Final = 5  # so many cycles fill what grows once: allocators, tables, imports
ALLOWED_SHARE: Final = 0.01
_WITHIN_S: Final = 300.0
_SWEPT_S: Final = 1.5
_SIDE: Final = 4800  # of the square of FP32 that is the ONNX model's weight: 92 MB
_MIB: Final = 2**20

_PYTHON_MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.weights = [np.ones(1 << 20, np.float32) for _ in range(22)]

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(
                        "OUTPUT0",
                        pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
                        + self.weights[0][:1],
                    )
                ]
            )
            for request in requests
        ]
"""

_CONFIG = """
backend: "{backend}"
max_batch_size: 8
input [ {{ name: "INPUT0" data_type: TYPE_FP32 dims: [ {dim} ] }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ {dim} ] }} ]
instance_group [ {{ kind: KIND_CPU count: {count} }} ]
"""


@dataclass(frozen=True, slots=True)
class Held:
    """What the server holds; counts are over all of its processes."""

    own_bytes: int
    processes: int
    fds: int
    regions: int  # mappings of our shared memory
    engine: dict[str, int]

    def counts(self) -> dict[str, int]:
        """What must come back exactly."""
        kept = {name: self.engine[name] for name in ("peers", "models") if name in self.engine}
        return {"processes": self.processes, "fds": self.fds, "regions": self.regions, **kept}


def write_onnx_model(repository: Path, name: str, *, side: int = _SIDE, count: int = 1) -> None:
    """A matrix product with a constant of side * side floats, in `count` instances."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper

    weights = np.zeros((side, side), np.float32)
    np.fill_diagonal(weights, 1)
    # Numbers that no page of the file has in common with another one.
    weights[0] = np.random.default_rng(1).random(side, np.float32)
    tensors = [
        helper.make_tensor_value_info(one, TensorProto.FLOAT, ["batch", side])
        for one in ("INPUT0", "OUTPUT0")
    ]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["INPUT0", "weights"], ["OUTPUT0"])],
        name,
        tensors[:1],
        tensors[1:],
        [helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.tobytes(), True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    config = _CONFIG.format(backend="onnxruntime", dim=side, count=count)
    (folder.parent / "config.pbtxt").write_text(config)


def write_python_model(repository: Path, name: str) -> None:
    """22 arrays of 4 MB, made by `initialize`."""
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(_PYTHON_MODEL)
    config = _CONFIG.format(backend="python", dim=16, count=1)
    (folder.parent / "config.pbtxt").write_text(config)


KINDS: Final[dict[str, tuple[Callable[[Path, str], None], int]]] = {
    "onnx": (write_onnx_model, _SIDE),
    "python": (write_python_model, 16),
}


def post(server: ServerProcess, path: str, body: bytes = b"{}") -> Any:
    """The answer's JSON. Raises RuntimeError if it is not 200."""
    return _ask(server, "POST", path, body)


def _ask(server: ServerProcess, method: str, path: str, body: bytes = b"") -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", ports_of(server).http, timeout=_WITHIN_S)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{server.name} answers {path} with {answer.status}: {text[:500]!r}")
    return json.loads(text) if text else {}


def counters(server: ServerProcess) -> Any:
    """pyserver's own books."""
    return _ask(server, "GET", "/v2/pyserver/counters")


def held(server: ServerProcess) -> Held:
    """What it holds now. The connections of the clients that ask are gone by then."""
    engine: dict[str, int] = {}
    if server.name == "pyserver":
        engine = counters(server)["engine"]
    pids = server.pids()
    fds = regions = 0
    for pid in pids:
        fds += sum(_kept(name) for name in _fds(pid))
        regions += Path(f"/proc/{pid}/maps").read_text().count("memfd:pyserver")
    return Held(cpu.own_bytes(pids), len(pids), fds, regions, engine)


def _fds(pid: int) -> list[str]:
    names = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            names.append(os.readlink(entry))
        except FileNotFoundError:
            pass  # closed meanwhile
    return names


def _kept(name: str) -> bool:
    """Not a connection, which closes when both sides have noticed."""
    return not name.startswith("socket:")


@contextmanager
def _explicit(new: Callable[[Path], ServerProcess], folder: Path) -> Iterator[ServerProcess]:
    server = new(folder / "server.log")
    server.start(folder / "models", extra=["--model-control-mode=explicit"])
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


def cycle(server: ServerProcess, model: str, dim: int) -> None:
    """Loads, asks once, unloads, and waits for the end of the model's processes."""
    before = server.pids()
    post(server, f"/v2/repository/models/{model}/load")
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [1, dim], "data": [1.0] * dim}
    post(server, f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}).encode())
    post(server, f"/v2/repository/models/{model}/unload")
    deadline = time.monotonic() + _WITHIN_S
    while not _unloaded(server, model) or server.pids() - before:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{model} has not ended {_WITHIN_S:g} s after its unload")
        time.sleep(0.01)


def _unloaded(server: ServerProcess, model: str) -> bool:
    index = post(server, "/v2/repository/index")
    states = Counter(one.get("state") for one in index if one["name"] == model)
    return not states["READY"] + states["LOADING"] + states["UNLOADING"]


def run(server: ServerProcess, model: str, dim: int, cycles: int) -> Iterator[Held]:
    """What is held before the first cycle and after each."""
    yield settled(server)
    for done in range(1, cycles + 1):
        cycle(server, model, dim)
        yield settled(server) if done in (FILLED, cycles) else held(server)


def settled(server: ServerProcess) -> Held:
    """What it holds when that changes no more: frontends sweep once a second."""
    before = held(server)
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        time.sleep(_SWEPT_S)
        now = held(server)
        if now.counts() == before.counts():
            return now
        before = now
    raise RuntimeError(f"{server.name} does not come to rest: {before.counts()}")


def growth(memory: Sequence[Held]) -> float:
    """The share by which the last five are above the five that follow the first FILLED cycles."""
    after = [one.own_bytes for one in memory[1 + FILLED :]]
    first, last = median(after[:FILLED]), median(after[-FILLED:])
    return last / first - 1


def lost(memory: Sequence[Held]) -> dict[str, int]:
    """What is held at the end beyond what was held after the first FILLED cycles."""
    first, last = memory[FILLED].counts(), memory[-1].counts()
    return {name: last[name] - first[name] for name in first if last[name] > first[name]}


def main(
    new: Callable[[Path], ServerProcess],
    kinds: Sequence[str],
    cycles: int,
    said: Callable[[str], None],
) -> int:
    """Prints a line for every tenth cycle. Returns the exit code: 0 is flat, and nothing lost."""
    bad = 0
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            KINDS[kind][0](folder / "models", kind)
            with _explicit(new, folder) as server:
                bad += not _flat(server, kind, cycles, said)
    return 1 if bad else 0


def _flat(server: ServerProcess, kind: str, cycles: int, said: Callable[[str], None]) -> bool:
    said(f"\n| {server.name}, {kind}: cycles | own MiB | processes | fds | regions |")
    said("|--:|--:|--:|--:|--:|")
    memory: list[Held] = []
    for done, one in enumerate(run(server, kind, KINDS[kind][1], cycles)):
        memory.append(one)
        if done % 10 == 0 or done in (1, FILLED):
            cells = f"{one.own_bytes / _MIB:.2f} | {one.processes} | {one.fds} | {one.regions}"
            said(f"| {done} | {cells} |")
    grown, left = growth(memory), lost(memory)
    flat = grown < ALLOWED_SHARE and not left
    said(f"{'flat' if flat else 'GROWING'}: {grown:+.2%} after the first {FILLED}; lost: {left}")
    return flat
