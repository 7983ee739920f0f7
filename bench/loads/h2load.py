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
from dataclasses import dataclass
from pathlib import Path

_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}
_DURATION = re.compile(r"finished in ([\d.]+)(us|ms|s),")
_COUNTS = re.compile(r"requests: (\d+) total, .*?(\d+) succeeded, (\d+) failed, (\d+) errored")


@dataclass(frozen=True, slots=True)
class GrpcLoad:
    """A unary call: the path of its method, and its serialized message."""

    path: str
    message: bytes

    @property
    def frame(self) -> bytes:
        """The message behind gRPC's prefix: not compressed, so many bytes."""
        return b"\0" + len(self.message).to_bytes(4, "big") + self.message


@dataclass(frozen=True, slots=True)
class H2loadResult:
    """One run. Latencies are microseconds as the client saw them, 0 where none were kept."""

    requests: int
    duration_us: float
    bad: int
    p50_us: float
    p99_us: float

    @property
    def per_second(self) -> float:
        return self.requests * 1e6 / self.duration_us


def available() -> bool:
    return shutil.which("h2load") is not None


def _percentiles(log: Path) -> tuple[float, float]:
    """The median and the 99th percentile of the log's third column, microseconds."""
    latencies = sorted(int(line.rsplit("\t", 1)[1]) for line in log.read_text().splitlines())
    if not latencies:
        return 0.0, 0.0
    last = len(latencies) - 1
    return float(latencies[last // 2]), float(latencies[last * 99 // 100])


def run(
    load: GrpcLoad,
    port: int,
    *,
    connections: int,
    streams: int,
    requests: int,
    latencies: bool = True,
    timeout_s: float = 300.0,
) -> H2loadResult:
    """Send `load` exactly `requests` times, from one thread, `streams` at once on each connection.

    The number is given and not the time, so that no call is cut off at the end and the server's
    own counts can be compared.

    Raises:
        RuntimeError: h2load failed or printed no result.
    """
    with tempfile.TemporaryDirectory(prefix="h2load-") as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(load.frame)
        command = ["h2load", f"--requests={requests}", f"--clients={connections}", "--threads=1"]
        command += [f"--max-concurrent-streams={streams}", f"--data={body}"]
        command += ["--header=content-type: application/grpc", "--header=te: trailers"]
        if latencies:
            command.append(f"--log-file={log}")
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{load.path}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        duration, counts = _DURATION.search(done.stdout), _COUNTS.search(done.stdout)
        if duration is None or counts is None:
            raise RuntimeError(f"h2load gave no result: {done.stdout}{done.stderr}")
        total, succeeded = int(counts[1]), int(counts[2])
        p50_us, p99_us = _percentiles(log) if latencies else (0.0, 0.0)
        return H2loadResult(
            requests=total,
            duration_us=float(duration[1]) * _UNITS_US[duration[2]],
            bad=total - succeeded,
            p50_us=p50_us,
            p99_us=p99_us,
        )
