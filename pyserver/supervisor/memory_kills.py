"""How often the kernel has killed for want of memory: of this server's own control group where that
can be read, else of the machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_COUNTED: Final = "oom_kill "


def memory_kills(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """The count so far; only its growth says something. 0 where nothing can be read."""
    for file in (*_group_files(proc, groups), proc / "vmstat"):
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(_COUNTED):
                return int(line.removeprefix(_COUNTED))
    return 0


def _group_files(proc: Path, groups: Path) -> list[Path]:
    """Where our own group has its count, with the groups below it: cgroup v2 only. In a container
    the group that /proc names may lie above what is mounted: then the mounted root is ours.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    paths = [line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::")]
    return [groups / one / "memory.events" for path in paths for one in (path, "")]
