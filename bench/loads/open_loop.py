"""One HTTP request begun at a fixed rate, whatever the server does, and what its users would see.

Every other load here is a closed loop: as many requests as connections, each sent when the one
before is answered, so a server that stalls is asked less. Here each request has the moment at which
it is meant to begin, and its latency counts from that one, also where it had to wait for a free
connection (no coordinated omission). No generator that Debian or PyPI has does this, so ours is
bench/cpp/open_loop.cc; it is compiled into build/bench/ when it is first used.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.asking import http_request_of, ports_of
from bench.loads import wrk
from bench.loads.load import Seen
from bench.targets.process import ServerProcess
from bench.workload import HttpRequest, Workload

_ROOT = Path(__file__).resolve().parents[2]
_CPP = _ROOT / "bench" / "cpp"
_CSRC = _ROOT / "csrc"
_BINARY = _ROOT / "build" / "bench" / "open_loop"
_CXX_FLAGS = ("-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{_CSRC}")
_WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class OpenLoopResult:
    """One run, without its warm-up; times are microseconds.

    `answered` + `failed` + `unanswered` = `scheduled`, and each of these has its latency: until the
    answer, the failure, or the end of the grace period. A failed request is not sent again.

    `late_*` is how long after the intended moment the generator itself noticed it while a
    connection was free; None if none was. Where this is not small beside the latencies, or
    `cpu_us` is near `duration_us`, the figures tell of the generator and not of the server.
    """

    scheduled: int
    answered: int
    """With a complete answer of any status."""
    refused: int
    """Of the answered, those that were not 2xx."""
    failed: int
    """The connection ended, or what came is no HTTP/1.1 answer with a Content-Length."""
    unanswered: int
    waited: int
    """Found no free connection at the intended moment."""
    duration_us: float
    """The schedule's length, or until the last answer if that came later."""
    per_second: float
    cpu_us: float
    """User and system time of the generator."""
    mean_us: float
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float
    late_p50_us: float | None
    late_p99_us: float | None
    first_failure: str

    @property
    def bad(self) -> int:
        """Everything that was not a 2xx in time."""
        return self.refused + self.failed + self.unanswered


def available() -> bool:
    return "PYSERVER_OPEN_LOOP" in os.environ or shutil.which("g++") is not None


def binary() -> Path:
    """The generator that PYSERVER_OPEN_LOOP names, or ours, compiled if a source is newer.

    Raises:
        RuntimeError: it did not compile; the message is the compiler's.
    """
    named = os.environ.get("PYSERVER_OPEN_LOOP")
    if named:
        return Path(named)
    sources = sorted(_CPP.glob("open_loop*.cc"))
    read = [*sources, *_CPP.glob("open_loop*.h"), *(_CSRC / "base").glob("*.h")]
    newest = max(path.stat().st_mtime_ns for path in read)
    if _BINARY.exists() and _BINARY.stat().st_mtime_ns > newest:
        return _BINARY
    _BINARY.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place and then moved there: another process may run the old one or build it too.
    with tempfile.TemporaryDirectory(dir=_BINARY.parent) as folder:
        made = Path(folder) / _BINARY.name
        done = subprocess.run(
            ["g++", *_CXX_FLAGS, "-o", str(made), *map(str, sources)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"the open loop did not compile:\n{done.stderr}")
        made.replace(_BINARY)
    return _BINARY


def _bytes_of(request: HttpRequest, port: int) -> bytes:
    headers = {
        "Host": f"127.0.0.1:{port}",
        **request.headers,
        "Content-Length": str(len(request.body)),
    }
    lines = [f"POST {request.path} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "", ""]).encode() + request.body


def run(
    request: HttpRequest,
    port: int,
    *,
    rate: float,
    seconds: float,
    connections: int = 64,
    evenly: bool = False,
    seed: int = 1,
    warm_up_s: float = 0.0,
    grace_s: float = 10.0,
) -> OpenLoopResult:
    """Begin `rate` requests a second over `connections` kept-alive connections, one at a time on
    each, for `warm_up_s`, which are not counted, and then for `seconds`.

    Arrivals are a Poisson process, the same one for the same seed, or evenly spaced. It ends when
    all were answered or failed, at the latest `grace_s` after the last intended moment. Whether an
    answer is the right one is not looked at, only its status.

    Raises:
        RuntimeError: nobody listens on 127.0.0.1:`port`, or the generator failed in another way.
    """
    with tempfile.TemporaryDirectory(prefix="open-loop-") as folder:
        file = Path(folder) / "request"
        file.write_bytes(_bytes_of(request, port))
        command = [str(binary()), f"--port={port}", f"--request={file}", f"--rate={rate}"]
        command += [f"--seconds={seconds}", f"--warmup={warm_up_s}", f"--grace={grace_s}"]
        command += [f"--connections={connections}", f"--seed={seed}"]
        command += [f"--arrivals={'even' if evenly else 'poisson'}"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=warm_up_s + seconds + grace_s + 60,
        )
    if done.returncode != 0:
        raise RuntimeError(f"{done.stderr.strip()} (exit code {done.returncode})")
    return OpenLoopResult(**json.loads(done.stdout))


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """`rate` requests a second. All targets get the same arrivals: the seed is fixed."""

    rate: float
    connections: int = 64
    evenly: bool = False
    seed: int = 1
    grace_s: float = 10.0

    @property
    def text(self) -> str:
        arrivals = "evenly" if self.evenly else "Poisson"
        return f"open loop, {self.rate:g}/s {arrivals}, {self.connections} connections"

    def _run(self, request: HttpRequest, port: int, seconds: float) -> OpenLoopResult:
        return run(
            request,
            port,
            rate=self.rate,
            seconds=seconds,
            connections=self.connections,
            evenly=self.evenly,
            seed=self.seed,
            grace_s=self.grace_s,
        )

    def prepare(
        self, target: ServerProcess, workload: Workload, seconds: float
    ) -> Callable[[], Seen]:
        request, port = http_request_of(target, workload), ports_of(target).http
        # A run of its own, so that the measured one is nothing but what is counted.
        self._run(request, port, _WARM_UP_S)

        def measured() -> Seen:
            result = self._run(request, port, seconds)
            return Seen(
                requests=result.answered,
                per_second=result.per_second,
                p50_us=result.p50_us,
                p99_us=result.p99_us,
                p999_us=result.p999_us,
                bad=result.bad,
            )

        return measured


class ShareOfCapacity:
    """An open loop at a share of what a server can do, which a closed one of 64 connections has
    just found out: of what `of` can, where that target's turn came before, else of its own.
    """

    def __init__(self, share: float, *, of: str | None = None) -> None:
        self._share = share
        self._of = of
        self._capacity: dict[str, float] = {}  # requests per second

    @property
    def text(self) -> str:
        whose = f"{self._of.capitalize()}'s" if self._of else "its own"
        return f"open loop, {self._share:.0%} of {whose} capacity"

    def prepare(
        self, target: ServerProcess, workload: Workload, seconds: float
    ) -> Callable[[], Seen]:
        capacity = self._capacity.get(self._of or "") if self._of != target.name else None
        if capacity is None:
            request, port = http_request_of(target, workload), ports_of(target).http
            capacity = wrk.run(request, port, connections=64, seconds=1).per_second
            self._capacity[target.name] = capacity
        loop = OpenLoop(rate=self._share * capacity)
        return loop.prepare(target, workload, seconds)
