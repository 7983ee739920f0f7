"""What is asked of object storage: which models there are, which files one has, and their bytes.

    Storage.models ──> names     Storage.listing ──> files and their tags     Storage.fetch ──> file

One implementation stands on fsspec (storage_fsspec). All of it is called in threads, and waits.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from pyserver.beneath import fault_in
from pyserver.errors import ServerError, UnavailableError

log = logging.getLogger(__name__)

MAX_FILES: Final = 100_000
_ATTEMPTS: Final = 4
_FIRST_PAUSE_S: Final = 0.25

Result = TypeVar("Result")


class StorageError(UnavailableError):
    """Object storage did not give what was asked of it. The text names the object and the cause."""


@dataclass(frozen=True, slots=True, order=True)
class StoredFile:
    """`name` counts from the model's folder. `tag` is another when the contents are (an ETag);
    empty where the store has none.
    """

    name: str
    size: int
    tag: str


@dataclass(frozen=True, slots=True)
class Listing:
    """All of a model's folder, sorted. `folders` are those that may be empty."""

    files: tuple[StoredFile, ...]
    folders: tuple[str, ...] = ()

    def stamp(self) -> str:
        """Equal for equal contents, as far as tags tell."""
        digest = hashlib.sha256()
        for name in self.folders:
            digest.update(f"{name}/\0".encode())
        for file in self.files:
            digest.update(f"{file.name}\0{file.size}\0{file.tag}\0".encode())
        return digest.hexdigest()


class Storage(Protocol):
    """One repository. Methods raise StorageError."""

    @property
    def url(self) -> str: ...
    def models(self) -> list[str]: ...
    def listing(self, model: str) -> Listing: ...
    def fetch(self, model: str, file: StoredFile, target: Path) -> None:
        """Writes the file's contents to `target`."""
        ...


def checked_listing(where: str, files: list[StoredFile], folders: list[str]) -> Listing:
    """Raises StorageError for keys that are no names of files in a folder: who may write to a
    bucket does not choose where files are written here.
    """
    if len(files) + len(folders) > MAX_FILES:
        raise StorageError(f"'{where}' holds more than {MAX_FILES} objects")
    for name in (*(file.name for file in files), *folders):
        why = key_fault(name)
        if why is not None:
            raise StorageError(f"'{where}' holds an object whose name {why}: {name!r}")
    every = {file.name for file in files}
    for name in sorted(every):
        parts = name.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in every:
                raise StorageError(
                    f"'{where}' holds an object '{'/'.join(parts[:depth])}', which would have to be"
                    f" a folder for '{name}'"
                )
    return Listing(tuple(sorted(files)), tuple(sorted(set(folders))))


def key_fault(name: str) -> str | None:
    """What is wrong with an object's key below a model's folder; None: nothing."""
    why = fault_in(name)
    if why is not None:
        return why
    if "\\" in name:
        return "has a backslash in it"
    parts = name.split("/")
    if "" in parts:
        return "has an empty part"
    return "has a '.' part" if "." in parts else None


def with_retries(
    what: str,
    call: Callable[[], Result],
    *,
    hopeless: tuple[type[Exception], ...] = (FileNotFoundError, PermissionError),
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Tries again a few times, each pause about twice as long as the one before. Raises
    StorageError with the last cause.
    """
    pause_s = _FIRST_PAUSE_S
    for left in reversed(range(_ATTEMPTS)):
        try:
            return call()
        except ServerError:
            raise
        except Exception as error:  # whatever the stores' libraries raise
            if isinstance(error, hopeless) or not left:
                raise StorageError(f"failed to {what}: {cause_of(error)}") from error
            log.warning("failed to %s, trying again: %s", what, cause_of(error))
        sleep(pause_s * random.uniform(0.8, 1.2))
        pause_s *= 2
    raise AssertionError("the last attempt returns or raises")


def cause_of(error: BaseException) -> str:
    """One line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__
