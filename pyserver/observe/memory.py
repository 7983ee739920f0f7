"""How much memory a process has: resident by /proc, on GPUs by NVIDIA's management library."""

from __future__ import annotations

import os
from pathlib import Path

from pyserver.observe.device_memory import DeviceMemory

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_byte_size(pid: int) -> int:
    """Resident pages, shared ones included; 0 for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def proportional_byte_size(pid: int) -> int:
    """Resident pages, of which one that n processes share counts 1/n, so that the figures of
    several processes may be added; all of them where the kernel does not tell. 0 for a process that
    is gone.

    The kernel walks the process's page tables for it: milliseconds for a large one.
    """
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    except (OSError, IndexError, ValueError):
        pass
    return resident_byte_size(pid)


def memory_of(pid: int, devices: DeviceMemory) -> dict[str, int]:
    """`resident_byte_size`, `proportional_byte_size`, and where there are GPUs that can be asked
    `device_byte_size`.
    """
    figures = {
        "resident_byte_size": resident_byte_size(pid),
        "proportional_byte_size": proportional_byte_size(pid),
    }
    on_devices = devices.byte_size(pid)
    if on_devices is not None:
        figures["device_byte_size"] = on_devices
    return figures
