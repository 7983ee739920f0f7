"""Folders that are made for one load and go with it.

They lie in a home of this process, below a base: locked for as long as the process lives, so that
what a killed one has left is known, and removed by the next.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pyserver.beneath import PRIVATE

_COPIES: Final = f"{PRIVATE}loads-"
_ATTEMPTS: Final = 8


@dataclass(slots=True)
class _Home:
    folder: Path
    lock_fd: int
    loads: set[Path] = field(default_factory=set)


class LoadFolders:
    """May be used by many threads."""

    def __init__(self, prefix: str = _COPIES) -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self._homes: dict[Path, _Home] = {}
        self._numbers = itertools.count(1)

    def make(self, base: Path) -> Path:
        """An empty folder somewhere below. OSError when it cannot be made."""
        with self._lock:
            home = self._homes.get(base)
            if home is None:
                home = self._homes[base] = _open_home(base, self._prefix)
            folder = home.folder / str(next(self._numbers))
            home.loads.add(folder)
            folder.mkdir()
        return folder

    def remove(self, folder: Path) -> None:
        """Of those that `make` gave."""
        shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            for base, home in list(self._homes.items()):
                if folder not in home.loads:
                    continue
                home.loads.discard(folder)
                if not home.loads:
                    shutil.rmtree(home.folder, ignore_errors=True)
                    os.close(home.lock_fd)
                    del self._homes[base]


def _open_home(base: Path, prefix: str) -> _Home:
    base.mkdir(parents=True, exist_ok=True)
    for old in base.glob(f"{prefix}*"):
        lock_fd = _locked(old)
        if lock_fd is not None:  # nobody is there any more
            shutil.rmtree(old, ignore_errors=True)
            os.close(lock_fd)
    for _ in range(_ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        lock_fd = _locked(folder)
        if lock_fd is None:
            continue  # another process took it for a left one
        if folder.is_dir():
            return _Home(folder, lock_fd)
        os.close(lock_fd)
    raise OSError(errno.EBUSY, "others take away what is made there", str(base))


def _locked(folder: Path) -> int | None:
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        return None
    return opened
