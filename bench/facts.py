"""Figures that are no load: how large a server is, how soon it is ready, what it holds at rest.

Each function asks one thing of one target and gives it as numbers; `FACTS` is their table.
"""

from __future__ import annotations

import http.client
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import cpu
from bench.asking import channel_to, grpc_request_of, ports_of
from bench.deployment import Deployment
from bench.measure import Targets
from bench.results import Fact
from bench.targets.process import ServerProcess, StartFailed
from bench.workload import Wire, Workload

_BOTH = ("pyserver", "triton")
_START_S = 180.0
_SETTLED_S = 2.0  # what start-up still does behind the first answer
_MIB = 2**20

New = Callable[[Path], ServerProcess]


@dataclass(frozen=True, slots=True)
class Question:
    """`ask` gives one value, in `unit`; it is asked `times` times."""

    section: str
    name: str
    title: str
    unit: str
    ask: Callable[[New], float]
    times: int = 3
    targets: tuple[str, ...] = _BOTH


@contextmanager
def _started(
    new: New, deployment: Deployment, *more_flags: str
) -> Iterator[tuple[ServerProcess, float]]:
    """A server of its own, and the seconds it took until it said that it is ready."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = new(folder / "server.log")
        served = folder / "served"
        served.mkdir()
        path, flags = server.lay_out(deployment, served)
        began_s = time.monotonic()
        server.start(path, extra=[*flags, *more_flags])
        try:
            while not server.ready():
                if not server.running() or time.monotonic() - began_s > _START_S:
                    raise StartFailed(f"{server.name} does not start:\n{server.log_tail()}")
                time.sleep(0.002)
            yield server, time.monotonic() - began_s
        finally:
            server.stop()


def _start_s(deployment: Deployment) -> Callable[[New], float]:
    def ask(new: New) -> float:
        with _started(new, deployment) as (_, seconds):
            return seconds

    return ask


def _idle_mib(deployment: Deployment) -> Callable[[New], float]:
    def ask(new: New) -> float:
        with _started(new, deployment) as (server, _):
            time.sleep(_SETTLED_S)
            return cpu.pss_bytes(server.pids()) / _MIB

    return ask


def _idle_cpu_ms(new: New) -> float:
    """CPU time that an idle server takes in a second, milliseconds."""
    waited_s = 5
    with _started(new, Deployment(("identity", "python_identity"))) as (server, _):
        time.sleep(_SETTLED_S)
        before = cpu.sample(server.pids())
        time.sleep(waited_s)
        after = cpu.sample(server.pids())
        return (after.cpu_us - before.cpu_us) / 1000 / waited_s


def _installed_mib(new: New) -> float:
    """Files of the server's own, without what Python compiles for itself."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folders = new(Path(name) / "server.log").folders()
    files = (file for folder in folders for file in folder.rglob("*"))
    return (
        sum(
            _stripped_bytes(file)
            for file in files
            if file.is_file() and not file.is_symlink() and "__pycache__" not in file.parts
        )
        / _MIB
    )


def _stripped_bytes(file: Path) -> int:
    """As a wheel has it: a checkout's libraries carry what a debugger needs."""
    if ".so" not in file.suffixes:
        return file.stat().st_size
    with tempfile.NamedTemporaryFile() as bare:
        subprocess.run(["strip", "-o", bare.name, str(file)], check=True, stderr=subprocess.DEVNULL)
        return Path(bare.name).stat().st_size


def _control(server: ServerProcess, model: str, action: str) -> float:
    """Load or unload; the milliseconds until the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", ports_of(server).http, timeout=_START_S)
    began_s = time.monotonic()
    try:
        connection.request("POST", f"/v2/repository/models/{model}/{action}", b"{}")
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{server.name} does not {action} {model}: {body!r}")
    return (time.monotonic() - began_s) * 1000


def _load_ms(model: str) -> Callable[[New], float]:
    def ask(new: New) -> float:
        with _started(new, Deployment((model,)), "--model-control-mode=explicit") as (server, _):
            return _control(server, model, "load")

    return ask


def _kept_mib(new: New) -> float:
    """What a real model's load leaves behind once it is unloaded again."""
    with _started(new, Deployment(("minilm",)), "--model-control-mode=explicit") as (server, _):
        time.sleep(_SETTLED_S)
        before = cpu.pss_bytes(server.pids())
        _control(server, "minilm", "load")
        _control(server, "minilm", "unload")
        time.sleep(_SETTLED_S)
        return (cpu.pss_bytes(server.pids()) - before) / _MIB


def _first_answer_us(new: New) -> float:
    """From a request on an open stream to the first of its 1,000 answers; the median of 50."""
    workload = Workload("repeat", Wire.STREAM, 1000)
    with _started(new, Deployment(("repeat",))) as (server, _):
        request = grpc_request_of(server, workload)
        waits_us = []
        with channel_to(ports_of(server).grpc) as channel:
            call = channel.stream_stream(request.path)
            for _ in range(50):
                began_s = time.monotonic()
                answers = call(iter([request.message]), timeout=60)
                next(iter(answers))
                waits_us.append((time.monotonic() - began_s) * 1e6)
                for _ in answers:
                    pass
    return median(waits_us)


_START = "Start and load"
_REST = "Size and rest"
_ONE, _MANY = Deployment(("identity",)), Deployment(("identity",), copies=100)
_PYTHON = Deployment(("python_identity",))

FACTS: tuple[Question, ...] = (
    Question(_START, "start-empty", "start, no model", "s", _start_s(Deployment(()))),
    Question(_START, "start-native", "start, one native model", "s", _start_s(_ONE)),
    Question(_START, "start-python", "start, one Python model", "s", _start_s(_PYTHON)),
    Question(_START, "start-100", "start, 100 native models", "s", _start_s(_MANY)),
    Question(_START, "load-native", "load a native model", "ms", _load_ms("identity")),
    Question(_START, "load-python", "load a Python model", "ms", _load_ms("python_identity")),
    Question(_START, "load-onnx", "load MiniLM (ONNX, 23 MB)", "ms", _load_ms("minilm")),
    Question(_REST, "installed", "installed, files of its own", "MiB", _installed_mib, times=1),
    Question(_REST, "idle-empty", "memory (PSS), no model", "MiB", _idle_mib(Deployment(()))),
    Question(_REST, "idle-native", "memory (PSS), one native model", "MiB", _idle_mib(_ONE)),
    Question(_REST, "idle-python", "memory (PSS), one Python model", "MiB", _idle_mib(_PYTHON)),
    Question(
        _REST, "idle-100", "memory (PSS), 100 native models", "MiB", _idle_mib(_MANY), times=1
    ),
    Question(_REST, "idle-cpu", "CPU time at rest, in a second", "ms", _idle_cpu_ms),
    Question(_REST, "kept", "memory kept after MiniLM was unloaded", "MiB", _kept_mib),
    Question(
        "Decoupled streaming", "first-answer", "first of 1,000 answers", "us", _first_answer_us
    ),
)


def ask_all(
    questions: Sequence[Question], targets: Targets, *, said: Callable[[str], None]
) -> list[Fact]:
    """Every question, asked of its targets in turns."""
    facts = []
    for question in questions:
        for _ in range(question.times):
            for name in question.targets:
                if name not in targets:
                    continue
                value = question.ask(targets[name])
                fact = Fact(
                    question.section, question.name, question.title, name, value, question.unit
                )
                facts.append(fact)
                said(f"{question.name:24} {name:12} {value:10,.2f} {question.unit}")
    return facts
