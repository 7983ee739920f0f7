"""Ensembles follow the models of their steps: when one of these has changed, whoever needs it is
made anew, or is taken out of service until it fits again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from pyserver.core.ensemble_fit import fit, is_ensemble, step_models
from pyserver.core.model_source import ModelSource
from pyserver.errors import ServerError
from pyserver.repository.lifecycle import UNLOADED, Loaded, ModelVersion, State
from pyserver.repository.registry import Registry

log = logging.getLogger(__name__)

# Makes one version of an ensemble; raises ServerError.
Make = Callable[[ModelSource, int], Awaitable[Loaded]]


class Dependents:
    """`in_use` are the loaded models, and ensembles that wait for a model to come back; `failures`
    says why others could not be loaded. What `refit` and `recheck` return is no longer needed: the
    engine's handles, in the order in which they may be drained. Whoever calls has them ended.
    """

    def __init__(
        self,
        registry: Registry,
        in_use: Mapping[str, ModelSource],
        failures: Mapping[str, str],
        make: Make,
    ) -> None:
        self._registry = registry
        self._in_use = in_use
        self._failures = failures
        self._make = make
        self._one_at_a_time = asyncio.Lock()

    def of(self, name: str) -> list[str]:
        """The ensembles that need the model, those that need them first."""
        found: dict[str, None] = {}
        seen = {name}

        def walk(needed: str) -> None:
            for source in self._in_use.values():
                if source.name not in seen and needed in self._steps(source.name):
                    seen.add(source.name)
                    walk(source.name)
                    found[source.name] = None

        walk(name)
        return list(found)

    def needs(self, name: str) -> list[str]:
        """The models that it is composed of, through ensembles among its steps too."""
        found: dict[str, None] = {}
        todo = [name]
        while todo:
            one = todo.pop()
            new = (
                [step for step in self._steps(one) if step not in found]
                if one in self._in_use
                else []
            )
            found.update(dict.fromkeys(new))
            todo += new
        return list(found)

    def lasting(self) -> list[str]:
        """The names in use but for those that wait for a model that was unloaded."""
        names = set(self._in_use)
        while lost := {one for one in names if not names.issuperset(self._steps(one))}:
            names -= lost
        return sorted(names)

    def _steps(self, name: str) -> list[str]:
        return step_models(self._in_use[name])

    def check(self, source: ModelSource) -> None:
        """Raises InvalidArgumentError where an ensemble does not fit now."""
        if is_ensemble(source):
            fit(source.config.message, source.steps, self._registry, self._failures)

    async def refit(self, name: str) -> list[int]:
        """The model serves with new versions. Who needs it, and does not fit any more, is out of
        service at once, and comes back when it fits again; all others are made anew, so that
        requests that have begun with the old versions can end with them.
        """
        leaving: list[int] = []
        async with self._one_at_a_time:
            for dependent in reversed(self.of(name)):  # each after those that it needs
                source = self._in_use.get(dependent)
                if source is not None:
                    leaving = [*await self._refit(source), *leaving]
        return leaving

    def recheck(self, name: str) -> list[int]:
        """The model, or a version of it, serves no more: takes out of service who misses it."""
        leaving: list[int] = []
        for dependent in reversed(self.of(name)):
            versions = self._registry.ready_versions(dependent)
            try:
                self.check(self._in_use[dependent])
            except ServerError as error:
                leaving = [*self._withdraw(versions, error), *leaving]
        return leaving

    async def _refit(self, source: ModelSource) -> list[int]:
        versions = [self._registry.version(source.name, one) for one in source.config.versions]
        made: list[Loaded] = []
        try:
            for version in versions:
                made.append(await self._make(source, version.version))
            self.check(source)  # others may have changed while the last one was made
        except ServerError as error:
            if source.name not in self.lasting():  # it waits for what somebody has unloaded
                versions = [one for one in versions if one.reason != UNLOADED]
            return [*(one.handle for one in made), *self._withdraw(versions, error)]
        if self._in_use.get(source.name) is not source:
            return [one.handle for one in made]  # unloaded or replaced meanwhile
        leaving: list[int] = []
        for version, loaded in zip(versions, made, strict=True):
            back = version.state is not State.READY
            version.begin_load()
            before = version.become_ready(loaded)
            if back:
                log.info("ensemble '%s' version %d serves again", version.name, version.version)
            if before is not None:
                leaving.append(before.handle)
        return leaving

    def _withdraw(self, versions: list[ModelVersion], error: ServerError) -> list[int]:
        leaving: list[int] = []
        reason = f"{error.code_name}: {error}"
        for version in versions:
            if version.state is State.READY:
                log.error(
                    "ensemble '%s' version %d is out of service: %s",
                    version.name,
                    version.version,
                    error,
                )
                if version.loaded is not None:
                    leaving.append(version.loaded.handle)
            elif version.state is State.UNAVAILABLE:
                version.begin_load()
            else:
                continue
            version.fail(reason)
        return leaving
