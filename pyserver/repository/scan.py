"""What lies in the model repositories: model folders, duplicates, whether anything has changed.

A model is a folder directly below a repository; plain files and hidden folders are not models. A
name from a client is only ever compared with names that were listed, so no name can lead outside.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pyserver.errors import InvalidArgumentError
from pyserver.repository.identity import identity
from pyserver.repository.storage import Storage


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model in a repository. `name` is what clients call it."""

    name: str
    path: Path
    repository: Path
    storage: Storage | None = None  # where it lies if it is in no folder; paths are none then


@dataclass(frozen=True, slots=True)
class Scan:
    """One look at all repositories: models by their identities. What is in `duplicates` is in none
    of `models`.
    """

    models: dict[str, ModelEntry]
    duplicates: frozenset[str]

    def named(self, name: str) -> list[str]:
        """The models that clients call so; the one that is known so, if it is an identity."""
        if name in self.models:
            return [name]
        return sorted(model for model, entry in self.models.items() if entry.name == name)


def scan(repositories: Iterable[Path | Storage], *, namespacing: bool = False) -> Scan:
    """Lists the models of all repositories. OSError when a repository cannot be read, StorageError
    for one on object storage.
    """
    models: dict[str, ModelEntry] = {}
    duplicates: set[str] = set()
    for repository in dict.fromkeys(
        one.absolute() if isinstance(one, Path) else one for one in repositories
    ):
        for entry in _entries(repository):
            model = identity(entry.repository, entry.name, namespacing=namespacing)
            if model in models or model in duplicates:
                models.pop(model, None)
                duplicates.add(model)
            else:
                models[model] = entry
    return Scan(models, frozenset(duplicates))


def _entries(repository: Path | Storage) -> list[ModelEntry]:
    if not isinstance(repository, Path):
        place = Path(repository.url)
        names = repository.models()
        return [ModelEntry(name, place / name, place, repository) for name in names]
    with os.scandir(repository) as entries:
        names = sorted(
            entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()
        )
    return [ModelEntry(name, repository / name, repository) for name in names]


def check_model_name(name: str) -> None:
    """Refuses names that no model can have, with Triton's texts for a load request."""
    if not name.strip():
        raise InvalidArgumentError(
            "Model name cannot be empty. Please enter a valid name to deploy."
        )
    if "/" in name or ".." in name or "\0" in name:
        raise InvalidArgumentError(
            f"invalid model name '{name}', model name must not contain path traversal characters"
        )


def fingerprint(folder: Path) -> str:
    """Another text whenever anything in the folder, itself included, was added, removed, renamed
    or written; what the files contain is not read. Empty if the folder is gone.
    """
    digest = hashlib.blake2b(digest_size=16)
    if not _take_in(digest, folder):
        return ""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in (*folders, *sorted(files)):
            _take_in(digest, Path(parent, name))
    return digest.hexdigest()


def _take_in(digest: hashlib.blake2b, path: Path) -> bool:
    try:
        about = path.stat()
    except OSError:
        return False
    if stat.S_ISDIR(about.st_mode):
        # Its own time would tell of what importing a module leaves behind.
        said = f"{path}/"
    else:
        said = f"{path}:{about.st_size}:{about.st_mtime_ns}:{about.st_ino}"
    digest.update(os.fsencode(said) + b"\0")
    return True
