"""What pyserver takes before it does anything: size on disk, memory at rest, time to be ready.

    python -m bench.footprint [--runs 5]

Prints a Markdown table. Memory is the proportional set size (PSS), in which a page that several
processes share counts once in all, and the resident set (RSS) beside it. Cold start is the wall
time from the command to the first 200 of /v2/health/ready, the median of the runs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import pyserver
from bench.cpu import process_tree
from bench.targets.pyserver import Pyserver

MODELS = Path(__file__).parent / "models"
MIB = 1024 * 1024


def installed_bytes() -> dict[str, int]:
    """Our own files, without what Python compiles for itself."""
    folder = Path(pyserver.__file__).parent
    sizes = {"native": 0, "Python": 0}
    for file in folder.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            kind = "native" if ".so" in file.name else "Python"
            sizes[kind] += file.stat().st_size
    return sizes


def _role(pid: int, root: int) -> str:
    if pid == root:
        return "supervisor"
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    named = [word for word in words if word.startswith(b"pyserver.")]
    return named[0].removeprefix(b"pyserver.").decode() if named else "other"


def memory_at_rest(server: Pyserver) -> list[tuple[str, float, float]]:
    """(role, RSS MiB, PSS MiB) of each process."""
    rows = []
    for pid in sorted(process_tree(server.pid)):
        figures = {
            line.split(":")[0]: int(line.split()[1])
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        }
        rows.append((_role(pid, server.pid), figures["Rss"] / 1024, figures["Pss"] / 1024))
    return rows


def cold_start_s(repository: Path, folder: Path) -> tuple[float, list[tuple[str, float, float]]]:
    """Seconds to ready, and memory once it is."""
    server = Pyserver(folder / "server.log")
    began = time.monotonic()
    server.start(repository)
    try:
        while not server.ready():
            time.sleep(0.005)
        ready_s = time.monotonic() - began
        time.sleep(1)  # what start-up still does behind the first answer
        return ready_s, memory_at_rest(server)
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    print("| what | figure |\n|---|--:|")
    for kind, size in installed_bytes().items():
        print(f"| installed, {kind} files of our own | {size / MIB:.1f} MiB |")
    with tempfile.TemporaryDirectory() as name:
        empty = Path(name) / "empty"
        empty.mkdir()
        for label, repository in (("without models", empty), ("with two models", MODELS)):
            results = [cold_start_s(repository, Path(name)) for _ in range(runs)]
            ready = statistics.median(seconds for seconds, _ in results)
            print(f"| cold start to ready, {label} | {ready:.2f} s |")
        for role, rss, pss in results[-1][1]:
            print(f"| idle {role} | {rss:.0f} MiB RSS, {pss:.0f} MiB PSS |")


if __name__ == "__main__":
    main()
