"""What the server holds, seen from outside: memory, descriptors, requests."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Self

from bench.targets.pyserver import Pyserver
from tests.serving import counters

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LOOK_EVERY_S = 0.02


def descriptors(pids: frozenset[int]) -> dict[int, int]:
    """Open descriptors, by process."""
    return {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in pids}


def no_more(now: dict[int, int], before: dict[int, int]) -> bool:
    """Whether every process has at most what it had before."""
    return all(count <= before[pid] for pid, count in now.items())


def resident_bytes(pids: frozenset[int]) -> int:
    """RSS of all these processes together; a shared page counts in each that has touched it."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES for pid in pids)


def under_way(server: Pyserver) -> dict[str, int]:
    """All that belongs to requests which have not ended, by name; a quiet server has none."""
    now = counters(server)
    held = {name: now["engine"][name] for name in ("live_requests", "live_leases", "live_batches")}
    for index, frontend in now["frontends"].items():
        held |= {f"{name}@{index}": frontend[name] for name in ("inflight", "region_live_blocks")}
    return {name: count for name, count in held.items() if count}


class MemoryWatch:
    """Notes the highest RSS while it runs; a context manager."""

    def __init__(self, pids: frozenset[int]) -> None:
        self._pids = pids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory watch", daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, resident_bytes(self._pids))
            if self._over.wait(_LOOK_EVERY_S):
                return
