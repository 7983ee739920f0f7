"""What a whole process tree has cost so far: CPU time, context switches and memory, read from
/proc.

A server is several processes, so its price is the sum over the tree below its first process. Two
samples, one before and one after a load, give the cost of the load. Processes that ended in
between are missed, which is why a sample keeps the set of process ids: the caller can tell that
the tree changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Positions in /proc/PID/stat after the command name, which is in brackets and may hold blanks.
_PARENT, _UTIME, _STIME, _RSS = 1, 11, 12, 21


@dataclass(frozen=True, slots=True)
class TreeSample:
    """The cost of a process tree up to one moment; `cpu_us` has the kernel's 10 ms steps."""

    pids: frozenset[int]
    cpu_us: int
    context_switches: int
    rss_bytes: int


def _stat_fields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def process_tree(root: int) -> frozenset[int]:
    """`root` and everything below it that lives now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat_fields(int(entry.name))) is not None:
            children.setdefault(int(fields[_PARENT]), []).append(int(entry.name))
    tree: set[int] = set()
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        tree.add(pid)
        waiting.extend(children.get(pid, ()))
    return frozenset(tree)


def _context_switches(pid: int) -> int:
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for line in (task / "status").read_text().splitlines():
                if "ctxt_switches" in line:
                    total += int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass  # a thread that ended between the listing and the reading
    return total


def sample(pids: Iterable[int]) -> TreeSample:
    """Add up what these processes have used so far."""
    ticks = switches = pages = 0
    seen = set()
    for pid in pids:
        if (fields := _stat_fields(pid)) is None:
            continue
        seen.add(pid)
        ticks += int(fields[_UTIME]) + int(fields[_STIME])
        pages += int(fields[_RSS])
        switches += _context_switches(pid)
    return TreeSample(
        pids=frozenset(seen),
        cpu_us=ticks * 1_000_000 // _TICKS_PER_SECOND,
        context_switches=switches,
        rss_bytes=pages * _PAGE_BYTES,
    )


def pss_bytes(pids: Iterable[int]) -> int:
    """Memory of these processes in which a page that several of them share counts once in all."""
    return _rolled_up(pids, ("Pss:",))


def own_bytes(pids: Iterable[int]) -> int:
    """The same without pages of files, which whoever else maps the file shares and the kernel can
    drop: what only these processes can give back.
    """
    return _rolled_up(pids, ("Pss_Anon:", "Pss_Shmem:"))


def _rolled_up(pids: Iterable[int], kinds: tuple[str, ...]) -> int:
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(
            int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(kinds)
        )
    return total
