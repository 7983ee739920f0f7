"""What lies in the model repositories: model folders, duplicates, time of the last change.

A model is a folder directly below a repository; plain files and hidden folders are not models. A
name from a client is only ever compared with names that were listed, so no name can lead outside.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pyserver.errors import InvalidArgumentError
from pyserver.repository.storage import Storage


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model in a repository."""

    name: str
    path: Path
    repository: Path
    storage: Storage | None = None  # where it lies if it is in no folder; paths are none then


@dataclass(frozen=True, slots=True)
class Scan:
    """One look at all repositories. A name in `duplicates` is in none of `models`."""

    models: dict[str, ModelEntry]
    duplicates: frozenset[str]


def scan(repositories: Iterable[Path | Storage]) -> Scan:
    """Lists the models of all repositories. OSError when a repository cannot be read, StorageError
    for one on object storage.
    """
    models: dict[str, ModelEntry] = {}
    duplicates: set[str] = set()
    for repository in dict.fromkeys(
        one.absolute() if isinstance(one, Path) else one for one in repositories
    ):
        for entry in _entries(repository):
            if entry.name in models or entry.name in duplicates:
                models.pop(entry.name, None)
                duplicates.add(entry.name)
            else:
                models[entry.name] = entry
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


def newest_mtime_ns(folder: Path) -> int:
    """The newest modification time of anything in the folder, itself included; 0 if it is gone."""
    newest = _mtime_ns(folder)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            newest = max(newest, _mtime_ns(Path(parent, name)))
    return newest


def _mtime_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
