"""All models that the server knows: look-ups for requests, the index, readiness.

Source of the texts: Triton's model life cycle and its model repository extension.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pyserver.errors import NotFoundError, UnavailableError
from pyserver.repository.lifecycle import UNLOADED, ModelVersion, State

DUPLICATED: Final = "model appears in two or more repositories"
_UNKNOWN: Final = "Request for unknown model: "


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of the repository index. `state` is empty for a model that was never loaded."""

    name: str
    version: int | None = None
    state: str = ""
    reason: str = ""


class Registry:
    """Models and their versions. Single-threaded, like everything in the control plane.

    `on_change(name)` hears of every change of a model: a new model, a version's state.
    """

    def __init__(self, on_change: Callable[[str], None] | None = None) -> None:
        self._models: dict[str, dict[int, ModelVersion]] = {}
        self._on_change = on_change or (lambda name: None)

    def know(self, name: str) -> None:
        """The model exists, if only without a version."""
        if name not in self._models:
            self._models[name] = {}
            self._on_change(name)

    def version(self, name: str, number: int) -> ModelVersion:
        """The version's object, made on first use."""
        versions = self._models.setdefault(name, {})
        if number not in versions:
            versions[number] = ModelVersion(name, number, self._changed)
        return versions[number]

    def _changed(self, version: ModelVersion) -> None:
        self._on_change(version.name)

    def versions(self, name: str) -> Mapping[int, ModelVersion]:
        """The versions ever touched of a model, by number; empty for an unknown model."""
        return dict(sorted(self._models.get(name, {}).items()))

    def names(self) -> list[str]:
        return sorted(self._models)

    def __iter__(self) -> Iterator[ModelVersion]:
        for name in sorted(self._models):
            yield from self.versions(name).values()

    def find(self, name: str, number: int = -1) -> ModelVersion:
        """The READY version that a request means; -1 is the newest READY one.

        Raises NotFoundError or UnavailableError with the texts that Triton's clients know.
        """
        versions = self._models.get(name)
        if versions is None:
            raise NotFoundError(f"{_UNKNOWN}'{name}' is not found")
        if number == -1:
            ready = [v for v in versions.values() if v.state is State.READY]
            if not ready:
                raise NotFoundError(f"{_UNKNOWN}'{name}' has no available versions")
            return max(ready, key=lambda one: one.version)
        found = versions.get(number)
        if found is None:
            raise NotFoundError(f"{_UNKNOWN}'{name}' version {number} is not found")
        if found.state is not State.READY:
            raise UnavailableError(f"{_UNKNOWN}'{name}' version {number} is not at ready state")
        return found

    def ready_versions(self, name: str) -> list[ModelVersion]:
        return [v for v in self.versions(name).values() if v.state is State.READY]

    def all_ready(self, names: Container[str] | None = None) -> bool:
        """Whether every version that should be available is; unloaded ones should not. `names`:
        only of these models.
        """
        return all(
            version.state is State.READY
            or (version.state is State.UNAVAILABLE and version.reason == UNLOADED)
            for version in self
            if names is None or version.name in names
        )

    def index(
        self, in_repository: set[str], duplicates: frozenset[str], *, ready_only: bool
    ) -> list[IndexEntry]:
        """Sorted by name, then version.

        `in_repository` are the names that lie in the repositories now: a model of these that was
        never loaded has a line with its name only. A model that is gone from there is listed while
        a version of it is still in use.
        """
        lines: list[IndexEntry] = []
        for name in sorted(in_repository | set(self._models) | duplicates):
            versions = self.versions(name)
            if name in duplicates and not any(v.state is State.READY for v in versions.values()):
                lines.append(IndexEntry(name, None, State.UNAVAILABLE, DUPLICATED))
                continue
            shown = [
                IndexEntry(name, v.version, v.state, v.reason)
                for v in versions.values()
                if not ready_only or v.state is State.READY
            ]
            if name not in self._models and not ready_only:
                shown = [IndexEntry(name)]
            lines += shown
        return lines
