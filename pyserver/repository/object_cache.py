"""Files from object storage, kept by what they are: a load takes from here what it knows already.

They lie in PYSERVER_CACHE_DIR/objects under the digest of where they are from, their tag and their
size, and are linked into the folders of loads. A model that writes to such a file would change it
for all: each has the same old time of change, so that one that was written to is known and dropped.
The least recently used go when there is more than PYSERVER_OBJECT_CACHE_BYTES.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

from pyserver.repository.environment_cache import cache_folder
from pyserver.repository.storage import StoredFile

log = logging.getLogger(__name__)

DEFAULT_BYTES: Final = 64 << 30
_BYTES_VARIABLE: Final = "PYSERVER_OBJECT_CACHE_BYTES"
_UNCHANGED_NS: Final = 1_000_000_000  # a second of 1970


def key_of(where: str, file: StoredFile) -> str | None:
    """None for a file without a tag: nobody could say whether it is still the same."""
    if not file.tag:
        return None
    parts = (where, file.name, file.tag, str(file.size))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class ObjectCache:
    """May be used by many threads and processes at once."""

    def __init__(self, folder: Path | None = None, most_bytes: int | None = None) -> None:
        self._folder = folder or cache_folder() / "objects"
        self._most_bytes = most_bytes if most_bytes is not None else _given_bytes()

    def take(self, key: str, size: int, target: Path) -> bool:
        """Puts the file at `target`, which is not there yet; False where it is not kept."""
        place = self._place(key)
        try:
            status = place.stat()
            if status.st_size != size or status.st_mtime_ns != _UNCHANGED_NS:
                log.warning("the kept object '%s' was written to; it is dropped", place)
                place.unlink(missing_ok=True)
                return False
            _link_or_copy(place, target)
            os.utime(place, ns=(time.time_ns(), _UNCHANGED_NS))
        except OSError:
            target.unlink(missing_ok=True)
            return False
        return True

    def keep(self, key: str, source: Path) -> None:
        """Takes the file in. What cannot be kept is downloaded again another time."""
        place = self._place(key)
        temporary = None
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=place.parent, prefix="new-")
            os.close(handle)
            os.unlink(temporary)
            _link_or_copy(source, Path(temporary))
            os.chmod(temporary, 0o444)
            os.utime(temporary, ns=(time.time_ns(), _UNCHANGED_NS))
            os.replace(temporary, place)
        except OSError as error:
            log.warning("an object cannot be kept in '%s': %s", self._folder, error)
        finally:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)

    def trim(self) -> None:
        """Drops the least recently used until the bound is kept."""
        kept = []
        for path in self._folder.glob("??/*"):
            try:
                status = path.stat()
            except OSError:
                continue
            kept.append((status.st_atime_ns, status.st_size, path))
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= self._most_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size

    def _place(self, key: str) -> Path:
        return self._folder / key[:2] / key


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _given_bytes() -> int:
    text = os.environ.get(_BYTES_VARIABLE, "")
    if text.isdigit():
        return int(text)
    if text:
        log.warning("%s=%s is no number of bytes; %d it is", _BYTES_VARIABLE, text, DEFAULT_BYTES)
    return DEFAULT_BYTES
