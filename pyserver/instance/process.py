"""What this process asks of the kernel: a name, and not to be stopped by others than core."""

from __future__ import annotations

import signal
from pathlib import Path


def set_name(name: str) -> None:
    """What `ps` and `top` show; the kernel keeps 15 bytes."""
    Path("/proc/self/comm").write_bytes(name.encode()[:15])


def ignore_stop_signals() -> None:
    """The supervisor decides when we stop, and core says so by message. With handlers instead of
    SIG_IGN, because programs that a model starts would inherit the latter."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
