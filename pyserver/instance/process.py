"""What this process asks of the kernel: a name, and not to be stopped by others than core."""

from __future__ import annotations

import io
import signal
import sys
from pathlib import Path

from pyserver._core import line_buffer_stdout


def set_name(name: str) -> None:
    """What `ps` and `top` show; the kernel keeps 15 bytes."""
    Path("/proc/self/comm").write_bytes(name.encode()[:15])


def show_output_at_once() -> None:
    """stdout is a pipe here, which both Python and C would fill before they write: a line is
    written when it ends, so that nothing waits, or is lost in a crash.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    line_buffer_stdout()


def ignore_stop_signals() -> None:
    """The supervisor decides when we stop, and core says so by message. With handlers instead of
    SIG_IGN, because programs that a model starts would inherit the latter."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
