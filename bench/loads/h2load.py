"""One gRPC call sent again and again by `h2load` of Debian's nghttp2-client, and what it saw.

h2load knows HTTP/2 but not gRPC: it counts HTTP statuses, and a refused call has status 200 too.
Whoever uses it checks one answer by a real call beforehand and asks the server afterwards how many
requests succeeded.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.asking import counts, grpc_request_of, ports_of
from bench.loads.load import Seen
from bench.targets.process import ServerProcess
from bench.workload import GrpcRequest, Wire, Workload

INSTALL = "apt-get install nghttp2-client"
_MOST_REQUESTS = 2_000_000  # of one run, whatever the pilot says
_PILOT = 100

_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}
_DURATION = re.compile(r"finished in ([\d.]+)(us|ms|s),")
_COUNTS = re.compile(r"requests: (\d+) total, .*?(\d+) succeeded, (\d+) failed, (\d+) errored")


@dataclass(frozen=True, slots=True)
class H2loadResult:
    """One run. Latencies are microseconds as the client saw them, 0 where none were kept."""

    requests: int
    duration_us: float
    bad: int
    p50_us: float
    p99_us: float
    p999_us: float

    @property
    def per_second(self) -> float:
        return self.requests * 1e6 / self.duration_us


def available() -> bool:
    return shutil.which("h2load") is not None


def _percentiles(log: Path) -> tuple[float, float, float]:
    """p50, p99 and p99.9 of the log's third column, microseconds."""
    latencies = sorted(int(line.rsplit("\t", 1)[1]) for line in log.read_text().splitlines())
    last = len(latencies) - 1
    p50, p99, p999 = (
        float(latencies[last * share // 1000]) if latencies else 0.0 for share in (500, 990, 999)
    )
    return p50, p99, p999


@dataclass(frozen=True, slots=True)
class H2load:
    """The same call, `streams` at once on each of the connections.

    The run has as many requests as a pilot says take the time, or `requests`. Each is answered by
    so many messages as the workload wants of a decoupled model; then those are what is counted.
    """

    connections: int
    streams: int
    requests: int | None = None

    @property
    def text(self) -> str:
        return f"h2load, {self.connections} x {self.streams}"

    def prepare(
        self, target: ServerProcess, workload: Workload, seconds: float
    ) -> Callable[[], Seen]:
        request, ports = grpc_request_of(target, workload), ports_of(target)

        def load(requests: int) -> H2loadResult:
            return run(
                request,
                ports.grpc,
                connections=self.connections,
                streams=self.streams,
                requests=requests,
            )

        answers = workload.elements if workload.wire is Wire.STREAM else 1
        number = self.requests
        if number is None:
            least = max(_PILOT // answers, self.connections * self.streams)
            pilot = load(least)
            warm = load(max(min(int(pilot.per_second / 2), _MOST_REQUESTS), least))
            number = max(min(int(warm.per_second * seconds), _MOST_REQUESTS), least)
        counted = target.counts_requests
        before = counts(ports.grpc, workload.model) if counted else None

        def measured() -> Seen:
            seen = load(number)
            bad = seen.bad
            if before is not None:
                after = counts(ports.grpc, workload.model)
                refused = number - (after.succeeded - before.succeeded)
                bad = max(bad, refused, after.failed - before.failed)
            return Seen(
                requests=seen.requests * answers,
                per_second=seen.per_second * answers,
                p50_us=seen.p50_us,
                p99_us=seen.p99_us,
                p999_us=seen.p999_us,
                bad=bad,
            )

        return measured


def run(
    request: GrpcRequest,
    port: int,
    *,
    connections: int,
    streams: int,
    requests: int,
    latencies: bool = True,
    timeout_s: float = 300.0,
) -> H2loadResult:
    """Send `request` exactly `requests` times, from one thread, `streams` at once on each of the
    connections.

    The number is given and not the time, so that no call is cut off at the end and the server's
    own counts can be compared.

    Raises:
        RuntimeError: h2load failed or printed no result.
    """
    with tempfile.TemporaryDirectory(prefix="h2load-") as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(request.frame)
        command = ["h2load", f"--requests={requests}", f"--clients={connections}", "--threads=1"]
        command += [f"--max-concurrent-streams={streams}", f"--data={body}"]
        command += ["--header=content-type: application/grpc", "--header=te: trailers"]
        if latencies:
            command.append(f"--log-file={log}")
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{request.path}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        duration, counts = _DURATION.search(done.stdout), _COUNTS.search(done.stdout)
        if duration is None or counts is None:
            raise RuntimeError(f"h2load gave no result: {done.stdout}{done.stderr}")
        total, succeeded = int(counts[1]), int(counts[2])
        p50_us, p99_us, p999_us = _percentiles(log) if latencies else (0.0, 0.0, 0.0)
        return H2loadResult(
            requests=total,
            duration_us=float(duration[1]) * _UNITS_US[duration[2]],
            bad=total - succeeded,
            p50_us=p50_us,
            p99_us=p99_us,
            p999_us=p999_us,
        )
