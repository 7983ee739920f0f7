"""Environments that are made once and kept: unpacked archives, and those of a requirements.txt.

They lie in PYSERVER_CACHE_DIR, or ~/.cache/pyserver, under the digest of what they are made of.
Two servers that want the same wait for each other; what was not finished is never seen.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    given = os.environ.get("PYSERVER_CACHE_DIR")
    return Path(given) if given else Path.home() / ".cache" / "pyserver"


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kept(kind: str, digest: str, make: Callable[[Path], None]) -> Path:
    """The folder of that digest; `make(folder)` fills it, at its final place, where it is not there
    yet. What `make` raises goes to the caller, and nothing stays. OSError when the cache cannot be
    written.
    """
    place = cache_folder() / kind
    place.mkdir(parents=True, exist_ok=True)
    folder, done = place / digest, place / f"{digest}.done"
    if done.exists():
        return folder
    with (place / f"{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return folder
        # Environments know their own path: they are made where they stay.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            make(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        handle, name = tempfile.mkstemp(dir=place)
        os.close(handle)
        os.replace(name, done)
    return folder
