"""On which machine a run of the harness takes place: the header of its results."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from bench.results import Header

LOAD_AVERAGE = "load average"  # the only property that changes from hour to hour


def header(command: str, versions: Mapping[str, str]) -> Header:
    """To be called when the run starts, since the load average is what the run began with."""
    now = datetime.now(UTC)
    return Header(now.strftime("%Y-%m-%dT%H:%MZ"), command, _machine(), dict(versions))


def _machine() -> dict[str, str]:
    return {
        "processor": processor(_read("/proc/cpuinfo")) or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": memory(_read("/proc/meminfo")) or "unknown",
        "kernel": platform.release(),
        "system": _system(),
        LOAD_AVERAGE: " ".join(f"{one:.2f}" for one in os.getloadavg()),
    }


def processor(cpuinfo: str) -> str | None:
    """The model of the first core, which /proc/cpuinfo of ARM does not tell."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return " ".join(found[1].split()) if found else None


def memory(meminfo: str) -> str | None:
    """All of the machine's, whatever of it this process may use."""
    found = re.search(r"^MemTotal:\s*(\d+) kB$", meminfo, re.MULTILINE)
    return f"{int(found[1]) / 2**20:.1f} GiB" if found else None


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
