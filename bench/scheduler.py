"""What the engine alone costs, driven in process: CPU time of its thread for each request.

No sockets, no models: bench/cpp/scheduler_bench.cc has the other ends of the rings. The cost should
not depend on how many models are loaded or sequences live; what grows with them is the memory that
is touched, so caches are missed more often.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[1]
_BUILD: Final = _ROOT / "build" / "bench-native"
_ROUNDS: Final = 5
_REQUESTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Case:
    policy: str
    models: int
    sequences: int = 0


CASES: Final = (
    *(Case("dynamic", models) for models in (1, 10, 100, 1000)),
    *(
        Case(policy, 1, sequences)
        for policy in ("sequence_oldest",)
        for sequences in (10, 1000, 10_000, 100_000)
    ),
)


def build() -> Path:
    """The program, compiled if a source is newer. Raises RuntimeError with the compiler's words."""
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    cmake, ninja = shutil.which("cmake", path=path), shutil.which("ninja", path=path)
    if cmake is None or ninja is None:
        raise RuntimeError("cmake and ninja are not there; run: make install")
    _BUILD.mkdir(parents=True, exist_ok=True)
    configure = [cmake, "-S", str(_ROOT / "csrc"), "-B", str(_BUILD), "-G", "Ninja"]
    configure += [f"-DCMAKE_MAKE_PROGRAM={ninja}", "-DPYSERVER_BENCH=ON"]
    compile_it = [cmake, "--build", str(_BUILD), "--target", "scheduler_bench"]
    for command in (configure, compile_it):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return _BUILD / "scheduler_bench"


def measure(program: Path, case: Case, requests: int = _REQUESTS) -> tuple[float, float]:
    """(CPU nanoseconds per request, requests per batch) of one run."""
    done = subprocess.run(
        [str(program), case.policy, str(case.models), str(case.sequences), str(requests)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{case}: {done.stderr.strip()}")
    nanoseconds, batch = done.stdout.split()
    return float(nanoseconds), float(batch)


def main(said: Callable[[str], None]) -> int:
    """Prints the best of some runs of each case, taken in turns. Returns the exit code."""
    try:
        program = build()
        figures = {case: [measure(program, case)] for case in CASES}
        for _ in range(_ROUNDS - 1):
            for case, seen in figures.items():
                seen.append(measure(program, case))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    said("| policy | models | live sequences | CPU ns/request | requests/s of a core | batch |")
    said("|---|--:|--:|--:|--:|--:|")
    for case, seen in figures.items():
        nanoseconds, batch = min(seen)
        said(
            f"| {case.policy} | {case.models:,} | {case.sequences:,} | {nanoseconds:.0f}"
            f" | {1e9 / nanoseconds:,.0f} | {batch:.1f} |"
        )
    return 0
