"""A limit of the kernel's on one process's memory: a cgroup below the one that we are in, so that
whatever bounds us goes on bounding it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import wait_until

_ROOT = Path("/sys/fs/cgroup")


class NoCgroups(Exception):
    """Here none can be made; the message says why."""


def _own_folder() -> tuple[Path, str]:
    """Where our own memory is counted, and the name of the file with the limit."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return _ROOT / "memory" / path.lstrip("/"), "memory.limit_in_bytes"
        if not controllers and (_ROOT / "cgroup.controllers").exists():
            return _ROOT / path.lstrip("/"), "memory.max"
    raise NoCgroups("no cgroup counts memory")


@contextmanager
def memory_limit(pid: int, byte_size: int) -> Iterator[None]:
    """From now on the process may take so much more: what it has already is not counted."""
    own, file = _own_folder()
    folder = own / f"pyserver-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        raise NoCgroups(str(error)) from error
    try:
        try:
            (folder / file).write_text(str(byte_size))
            (folder / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise NoCgroups(str(error)) from error
        yield
    finally:
        wait_until(lambda: not (folder / "cgroup.procs").read_text(), what="an empty cgroup")
        folder.rmdir()
