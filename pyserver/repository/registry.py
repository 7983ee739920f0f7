"""All models that the server knows: look-ups for requests, the index, readiness.

Source of the texts: Triton's model life cycle and its model repository extension.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pyserver.errors import NotFoundError, UnavailableError
from pyserver.repository.identity import ambiguous, name_of
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
    """Models by identity, and their versions. Single-threaded, like everything in the control
    plane.

    `on_change(name)` hears of every change of a model: a new model, a version's state.
    """

    def __init__(self, on_change: Callable[[str], None] | None = None) -> None:
        self._models: dict[str, dict[int, ModelVersion]] = {}
        self._empty: set[str] = set()  # expected, and without a version
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

    def expect_all(self) -> None:
        """Whatever is known now is to serve: the server is not ready without it."""
        self._empty = {model for model, versions in self._models.items() if not versions}
        for version in self:
            version.due = True

    def names(self) -> list[str]:
        return sorted(self._models)

    def named(self, name: str) -> list[str]:
        """The identities of the models that clients call so, or the one that is this."""
        if name in self._models:
            return [name]
        return sorted(model for model in self._models if name_of(model) == name)

    def namesakes(self, name: str) -> list[str]:
        """Those that a client can mean by the name: unloaded ones only where there is no other."""
        found = self.named(name)
        return [one for one in found if not self._is_unloaded(one)] or found[:1]

    def _is_unloaded(self, model: str) -> bool:
        versions = self._models[model].values()
        return bool(versions) and all(one.reason == UNLOADED for one in versions)

    def meant(self, name: str) -> str:
        """The model that a client means. Raises InvalidArgumentError where it can be several."""
        found = self.namesakes(name)
        if len(found) > 1:
            raise ambiguous(name, len(found))
        return found[0] if found else name

    def __iter__(self) -> Iterator[ModelVersion]:
        for name in sorted(self._models):
            yield from self.versions(name).values()

    def find(self, name: str, number: int = -1) -> ModelVersion:
        """The READY version that a request means; -1 is the newest READY one.

        Raises NotFoundError, UnavailableError or InvalidArgumentError (for a name of several
        models) with the texts that Triton's clients know.
        """
        versions = self._models.get(self.meant(name))
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

    def reason_not_ready(self, names: Container[str] | None = None) -> str:
        """Which version is not available that should be; empty when all are. Unloaded ones should
        not, nor those that have yet to serve for the first time: a load of one more model does not
        make a server unready. `names`: only of these models.
        """
        for model in sorted(self._empty):
            if not self._models[model] and (names is None or model in names):
                return f"model '{model}' has no version that its policy serves"
        for version in self:
            if names is not None and version.name not in names:
                continue
            if version.due and version.state is not State.READY and version.reason != UNLOADED:
                return version.described()
        return ""

    def index(
        self, in_repository: set[str], duplicates: frozenset[str], *, ready_only: bool
    ) -> list[IndexEntry]:
        """Sorted by name, then version.

        `in_repository` are the identities that lie in the repositories now: a model of these that
        was never loaded has a line with its name only. A model that is gone from there is listed
        while a version of it is still in use.
        """
        lines: list[IndexEntry] = []
        every = in_repository | set(self._models) | duplicates
        for name, model in sorted((name_of(model), model) for model in every):
            versions = self.versions(model)
            if model in duplicates and not any(v.state is State.READY for v in versions.values()):
                lines.append(IndexEntry(name, None, State.UNAVAILABLE, DUPLICATED))
                continue
            shown = [
                IndexEntry(name, v.version, v.state, v.reason)
                for v in versions.values()
                if not ready_only or v.state is State.READY
            ]
            if model not in self._models and not ready_only:
                shown = [IndexEntry(name)]
            used = any(v.state is not State.UNAVAILABLE for v in versions.values())
            if used or model in in_repository:
                lines += shown
        return lines
