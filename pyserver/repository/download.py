"""A model's folder from object storage: all of it or nothing, in a folder made for one load.

    listing ──> what is in no version ──> the versions that its config serves ──> listing again

What the cache knows is linked from there, the rest is downloaded by a few threads at once. If the
listing is another one at the end, somebody was writing to the model meanwhile, and it begins anew:
half of one state and half of another is never loaded.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyserver.beneath import LeadsOut, make_folder_beneath
from pyserver.config.versions import version_of
from pyserver.repository.environment_cache import cache_folder
from pyserver.repository.load_folders import LoadFolders
from pyserver.repository.object_cache import ObjectCache, key_of
from pyserver.repository.storage import Listing, Storage, StorageError, StoredFile

log = logging.getLogger(__name__)

THREADS: Final = 8
_ROUNDS: Final = 3
# Where Triton's users say that copies are to lie.
_BASES: Final[Mapping[str, str]] = {
    "s3": "TRITON_AWS_MOUNT_DIRECTORY",
    "gs": "TRITON_GCS_MOUNT_DIRECTORY",
    "as": "TRITON_AZURE_MOUNT_DIRECTORY",
}

# From the model's folder, whose version folders are empty yet, to the versions that are wanted.
ChooseVersions = Callable[[Path], Iterable[int]]


@dataclass(frozen=True, slots=True)
class Downloaded:
    """`folder` has the model's name; `load` is what `Downloads.remove` takes."""

    folder: Path
    load: Path
    listing: Listing


@dataclass(slots=True)
class _Round:
    """One attempt. `staged` are the files of all attempts so far, and where they are; `new` those
    that the cache did not have.
    """

    model: str
    listing: Listing
    load: Path
    staged: dict[StoredFile, Path]
    new: set[StoredFile]
    numbers: Iterator[int]
    downloaded: bool = False

    def place(self) -> Path:
        """A new one. No name from outside is in it."""
        return self.load / "staging" / str(next(self.numbers))


class Downloads:
    """May be used by many threads, each for a model of its own."""

    def __init__(self, cache: ObjectCache | None = None) -> None:
        self._cache = cache or ObjectCache()
        self._folders = LoadFolders()

    def remove(self, downloaded: Downloaded) -> None:
        self._folders.remove(downloaded.load)

    def get(self, storage: Storage, model: str, choose: ChooseVersions) -> Downloaded:
        """Raises StorageError, which leaves nothing; and what `choose` raises."""
        base = _base(storage.url)
        try:
            load = self._folders.make(base)
        except OSError as error:
            raise StorageError(
                f"'{storage.url}/{model}' cannot be copied to '{base}': {error.strerror or error}"
            ) from error
        try:
            return self._get(storage, model, choose, load)
        except (OSError, LeadsOut) as error:
            self._folders.remove(load)
            raise StorageError(
                f"'{storage.url}/{model}' cannot be copied to '{base}': {error}"
            ) from error
        except BaseException:
            self._folders.remove(load)
            raise

    def _get(self, storage: Storage, model: str, choose: ChooseVersions, load: Path) -> Downloaded:
        staged: dict[StoredFile, Path] = {}
        new: set[StoredFile] = set()
        numbers = itertools.count(1)
        listing = storage.listing(model)
        for _ in range(_ROUNDS):
            attempt = _Round(model, listing, load, staged, new, numbers)
            folder = self._one_round(storage, attempt, choose)
            after = storage.listing(model) if attempt.downloaded else listing
            if after == listing:
                self._keep(storage, attempt)
                shutil.rmtree(load / "staging", ignore_errors=True)
                return Downloaded(folder, load, listing)
            log.warning("'%s/%s' changed while it was downloaded", storage.url, model)
            shutil.rmtree(folder)
            listing = after
        raise StorageError(
            f"'{storage.url}/{model}' changes all the time: it was another one after each of"
            f" {_ROUNDS} downloads"
        )

    def _one_round(self, storage: Storage, attempt: _Round, choose: ChooseVersions) -> Path:
        folder = attempt.load / attempt.model
        folder.mkdir()
        (attempt.load / "staging").mkdir(exist_ok=True)
        versions: dict[str, list[StoredFile]] = {}
        first: list[StoredFile] = []
        for file in attempt.listing.files:
            top, slash, _ = file.name.partition("/")
            in_version = slash and version_of(top) is not None
            (versions.setdefault(top, []) if in_version else first).append(file)
        for name in (*attempt.listing.folders, *versions):
            os.close(make_folder_beneath(folder, name))
        self._place(storage, attempt, folder, first)
        wanted = {str(version) for version in choose(folder)}
        for name in {one.partition("/")[0] for one in (*attempt.listing.folders, *versions)}:
            if version_of(name) is not None and name not in wanted:
                shutil.rmtree(folder / name)
        chosen = [file for name in sorted(wanted & versions.keys()) for file in versions[name]]
        self._place(storage, attempt, folder, chosen)
        return folder

    def _place(
        self, storage: Storage, attempt: _Round, folder: Path, files: list[StoredFile]
    ) -> None:
        """Puts the files into the folder, from where they are to be had soonest."""
        missing = [file for file in files if not self._at_hand(storage, attempt, file)]
        wanted = sum(file.size for file in missing)
        free = shutil.disk_usage(folder).free
        if wanted > free:
            raise StorageError(
                f"'{storage.url}/{attempt.model}' needs {wanted} bytes in '{folder.parent}', where"
                f" {free} are free"
            )
        if missing:
            self._fetch(storage, attempt, missing)
        for file in files:
            parent, _, last = file.name.rpartition("/")
            at = make_folder_beneath(folder, parent)
            try:
                os.link(attempt.staged[file], last, dst_dir_fd=at, follow_symlinks=False)
            finally:
                os.close(at)

    def _at_hand(self, storage: Storage, attempt: _Round, file: StoredFile) -> bool:
        if file in attempt.staged:
            return bool(file.tag)  # nobody knows whether it is the same without
        key = key_of(f"{storage.url}/{attempt.model}", file)
        target = attempt.place()
        if key is None or not self._cache.take(key, file.size, target):
            return False
        attempt.staged[file] = target
        return True

    def _fetch(self, storage: Storage, attempt: _Round, files: list[StoredFile]) -> None:
        attempt.downloaded = True
        targets = {file: attempt.place() for file in files}
        with ThreadPoolExecutor(min(THREADS, len(files)), "pyserver-download") as pool:
            # Large ones first: the last thread to end is not one that began late with much.
            ordered = sorted(files, key=lambda file: -file.size)
            work = [pool.submit(storage.fetch, attempt.model, one, targets[one]) for one in ordered]
            done, rest = wait(work, return_when=FIRST_EXCEPTION)
            for one in rest:
                one.cancel()
        for one in (*done, *rest):
            if not one.cancelled():
                one.result()
        attempt.staged.update(targets)
        attempt.new.update(files)

    def _keep(self, storage: Storage, attempt: _Round) -> None:
        """Only now is it known that what was downloaded is what the tags say."""
        for file in attempt.new.intersection(attempt.listing.files):
            key = key_of(f"{storage.url}/{attempt.model}", file)
            if key is not None:
                self._cache.keep(key, attempt.staged[file])
        if attempt.new:
            self._cache.trim()


def _base(url: str) -> Path:
    given = os.environ.get(_BASES.get(url.partition("://")[0], ""), "")
    return Path(given) if given else cache_folder() / "loads"
