"""What a small model's clients notice while a large one is loaded and unloaded beside it.

A Python model is asked at a fixed rate, first alone, then while another one loads and unloads in a
loop: 300 MB and five seconds of CPU time each time. The servers are up together and take turns; the
ratio of the two p99 is made round by round. Loads are counted, since who gives way loads slower.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.asking import check, http_request_of, ports_of
from bench.deployment import Deployment
from bench.load_cycles import post
from bench.loads import open_loop
from bench.measure import Targets
from bench.results import Fact
from bench.targets.process import ServerProcess
from bench.workload import Wire, Workload

SECTION: Final = "A load beside traffic"
_SMALL: Final = Workload("python_add", Wire.BINARY)
_BIG: Final = "big_python"
_CONNECTIONS: Final = 4


@dataclass(frozen=True, slots=True)
class Turn:
    """One server's round: latencies in microseconds, and how many loads ended meanwhile."""

    alone_p50_us: float
    alone_p99_us: float
    loading_p50_us: float
    loading_p99_us: float
    loads: int
    load_s: float  # of one load, the median
    bad: int

    @property
    def p99_ratio(self) -> float:
        return self.loading_p99_us / self.alone_p99_us


class _Loading:
    """Loads and unloads in a thread of its own, as long as the block lasts."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._over = threading.Event()
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.took_s: list[float] = []
        self.failure: Exception | None = None

    def __enter__(self) -> _Loading:
        self._thread.start()
        self._began.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self.failure is not None:
            raise RuntimeError(f"{self._server.name} did not load {_BIG}") from self.failure

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._began.set()
                began_s = time.monotonic()
                post(self._server, f"/v2/repository/models/{_BIG}/load")
                self.took_s.append(time.monotonic() - began_s)
                post(self._server, f"/v2/repository/models/{_BIG}/unload")
        except Exception as error:
            self.failure = error
            self._began.set()


@contextmanager
def _started(targets: Targets) -> Iterator[dict[str, ServerProcess]]:
    deployment = Deployment((_SMALL.model, _BIG))
    with ExitStack() as stack:
        servers: dict[str, ServerProcess] = {}
        for name, new in targets.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            server = new(folder / "server.log")
            (folder / "served").mkdir()
            path, flags = server.lay_out(deployment, folder / "served")
            explicit = ("--model-control-mode=explicit", f"--load-model={_SMALL.model}")
            server.start(path, extra=[*flags, *explicit])
            stack.callback(server.stop)
            server.wait_ready()
            check(server, _SMALL)
            servers[name] = server
        yield servers


def _turn(server: ServerProcess, rate: float, seconds: float) -> Turn:
    request, port = http_request_of(server, _SMALL), ports_of(server).http

    def asked(seconds: float) -> open_loop.OpenLoopResult:
        return open_loop.run(
            request,
            port,
            rate=rate,
            seconds=seconds,
            connections=_CONNECTIONS,
            warm_up_s=0.5,
            grace_s=30,
        )

    alone = asked(seconds)
    with _Loading(server) as loading:
        beside = asked(2 * seconds)
    return Turn(
        alone.p50_us,
        alone.p99_us,
        beside.p50_us,
        beside.p99_us,
        len(loading.took_s),
        median(loading.took_s),
        alone.bad + beside.bad,
    )


def facts_of(name: str, turns: Sequence[Turn]) -> list[Fact]:
    """As the files of results keep them; several of a name are rounds."""
    figures: tuple[tuple[str, str, str, Callable[[Turn], float]], ...] = (
        ("p50-alone", "p50 alone", "us", lambda one: one.alone_p50_us),
        ("p50-beside", "p50 beside a load", "us", lambda one: one.loading_p50_us),
        ("p99-alone", "p99 alone", "us", lambda one: one.alone_p99_us),
        ("p99-beside", "p99 beside a load", "us", lambda one: one.loading_p99_us),
        ("p99-ratio", "p99 beside a load over p99 alone", "times", lambda one: one.p99_ratio),
        ("load", "a load meanwhile", "s", lambda one: one.load_s),
    )
    return [
        Fact(SECTION, scenario, title, name, get(one), unit)
        for scenario, title, unit, get in figures
        for one in turns
    ]


def main(
    targets: Targets,
    *,
    rounds: int,
    seconds: float,
    rate: float,
    said: Callable[[str], None],
) -> list[Fact]:
    """Prints each round and the medians; the same as facts."""
    turns: dict[str, list[Turn]] = {name: [] for name in targets}
    said("| server | p50 alone | p99 alone | p50 beside | p99 beside | p99 ratio | load s | bad |")
    said("|---|--:|--:|--:|--:|--:|--:|--:|")
    with _started(targets) as servers:
        for _ in range(rounds):
            for name, server in servers.items():
                turn = _turn(server, rate, seconds)
                turns[name].append(turn)
                said(_row(name, turn))
    for name, its in turns.items():
        ratios = sorted(one.p99_ratio for one in its)
        said(
            f"{name}: p99 beside a load is {median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
            f" times p99 alone; {sum(one.loads for one in its)} loads"
        )
    return [fact for name, its in turns.items() for fact in facts_of(name, its)]


def _row(name: str, turn: Turn) -> str:
    return (
        f"| {name} | {turn.alone_p50_us:,.0f} | {turn.alone_p99_us:,.0f}"
        f" | {turn.loading_p50_us:,.0f} | {turn.loading_p99_us:,.0f} | {turn.p99_ratio:.2f}"
        f" | {turn.load_s:.1f} | {turn.bad} |"
    )
