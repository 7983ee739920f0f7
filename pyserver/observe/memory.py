"""How much memory a process holds, read from /proc."""

from __future__ import annotations

import os
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_byte_size(pid: int) -> int:
    """Resident pages, shared ones included; 0 for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def proportional_byte_size(pid: int) -> int:
    """What is resident, of shared pages its share (the kernel's Pss); all of them where the kernel
    does not tell. 0 for a process that is gone.
    """
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    return resident_byte_size(pid)
