"""Looking at a running server from outside: which process has which role, and what it holds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bench.cpu import process_tree


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one process holds of the system."""

    fds: int
    regions: int  # mappings of regions and channels


def processes_by_role(root: int) -> dict[str, list[int]]:
    """Pids below `root` by role (supervisor, core, frontend, instance)."""
    found: dict[str, list[int]] = {}
    for pid in sorted(process_tree(root)):
        found.setdefault("supervisor" if pid == root else _role(pid), []).append(pid)
    return found


def _role(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    for word in words:
        if word.startswith(b"pyserver."):
            return word.removeprefix(b"pyserver.").decode()
    return "other"


def holdings(pid: int) -> Holdings:
    maps = Path(f"/proc/{pid}/maps").read_text()
    return Holdings(
        fds=len(os.listdir(f"/proc/{pid}/fd")),
        regions=maps.count("memfd:pyserver-"),
    )
