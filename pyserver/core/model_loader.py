"""Loading and unloading of whole models: all versions or none, one at a time for each model.

A reload brings the new versions up beside the old ones, switches over at once, and lets the old
ones finish what they have. A failed load leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from pyserver.core.ensemble_load import EnsembleLoad, EnsembleVersion, is_ensemble, step_models
from pyserver.core.model_source import ModelSource, ModelSources, NoVersion, PollFailed
from pyserver.core.served_version import ServedVersion
from pyserver.core.version_load import LoadContext, VersionLoad
from pyserver.errors import InternalError, InvalidArgumentError, ServerError
from pyserver.repository.lifecycle import Loaded, ModelVersion, State
from pyserver.repository.override import LoadOverride
from pyserver.repository.registry import Registry
from pyserver.repository.scan import check_model_name

log = logging.getLogger(__name__)

Served = ServedVersion | EnsembleVersion


class ModelLoader:
    """Everything that changes which models are served.

    `settle()` returns when all frontends know the registry's present state. `remember(names)` hears
    which models are loaded now, after each change that was asked for.
    """

    def __init__(
        self,
        context: LoadContext,
        sources: ModelSources,
        registry: Registry,
        settle: Callable[[], Awaitable[None]],
        remember: Callable[[list[str]], None],
    ) -> None:
        self._context = context
        self._sources = sources
        self._registry = registry
        self._settle = settle
        self._remember = remember
        self._served: dict[int, Served] = {}  # by handle: all that run, retiring ones too
        self._in_use: dict[str, ModelSource] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._load_slots = asyncio.Semaphore(context.settings.model_load_thread_count)
        self._handles = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        # Models that never got as far as having versions, and why.
        self.poll_failures: dict[str, str] = {}

    @property
    def served(self) -> list[Served]:
        return list(self._served.values())

    async def load(self, name: str, override: LoadOverride | None = None) -> None:
        """Loads or reloads; returns when the new versions serve, or raises with Triton's texts."""
        check_model_name(name)
        async with self._locks[name]:
            try:
                source = await asyncio.to_thread(self._sources.open, name, override)
            except (PollFailed, NoVersion) as error:
                self.poll_failures[name] = error.reason
                if isinstance(error, NoVersion):
                    self._registry.know(name)
                raise
            self.poll_failures.pop(name, None)
            if self._serves(source):
                source.discard()
                return
            failures = await self._load_steps(source)
            await self._load_all_versions(source, failures)
            await self._settle()

    async def _load_steps(self, source: ModelSource) -> dict[str, str]:
        """Loads the models that an ensemble needs; why, of those that could not be loaded."""
        failures: dict[str, str] = {}
        names = step_models(source)
        if not names:
            return failures
        await self._check_circle(source)
        results = await asyncio.gather(*map(self._load_step, names), return_exceptions=True)
        for name, result in zip(names, results, strict=True):
            if isinstance(result, ServerError):
                failures[name] = _reason(result)
            elif isinstance(result, BaseException):
                raise result
        return failures

    async def _load_step(self, name: str) -> None:
        if self._context.settings.model_control_mode != "explicit":
            async with self._locks[name]:
                tried = name in self.poll_failures or any(self._registry.versions(name).values())
            if tried:  # what failed at the start is not tried again
                return
        elif self._registry.ready_versions(name):
            return
        await self.load(name)

    async def _check_circle(self, source: ModelSource) -> None:
        async def walk(one: ModelSource, path: tuple[str, ...]) -> None:
            for name in step_models(one):
                if name in path:
                    text = " -> ".join((*path[path.index(name) :], name))
                    version = self._registry.version(source.name, source.config.versions[-1])
                    reason = f"circular dependency between ensembles: {text}"
                    version.begin_load()
                    version.fail(f"{InvalidArgumentError.code_name}: {reason}")
                    raise InvalidArgumentError(f"load failed for model '{source.name}': {reason}\n")
                try:
                    step = await asyncio.to_thread(self._sources.open, name)
                except ServerError:
                    continue  # told when it is loaded
                await walk(step, (*path, name))

        await walk(source, (source.name,))

    def _dependents(self, name: str) -> list[str]:
        """The loaded ensembles that need the model, those that need them first."""
        found: list[str] = []
        for source in self._in_use.values():
            if name in step_models(source):
                found += [*self._dependents(source.name), source.name]
        return list(dict.fromkeys(found))

    async def unload(self, name: str) -> None:
        """Takes the model out of service at once; what is in flight is finished after return."""
        async with self._locks[name]:
            for dependent in self._dependents(name):
                await self._end_all(self._registry.ready_versions(dependent))
                self._forget_source(dependent)
            for version in self._registry.ready_versions(name):
                self._unload_version(version)
            self._forget_source(name)
            self._remember(sorted(self._in_use))
            await self._settle()

    async def unload_everything(self) -> None:
        """Unloads all models and waits until their processes have ended."""
        ensembles = [one for one in self._registry if self._runs_steps(one)]
        await self._end_all(ensembles)  # while their steps can still run
        for version in list(self._registry):
            self._unload_version(version)
        for name in list(self._in_use):
            self._forget_source(name)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def broken_peer(self, peer: int) -> None:
        """A peer broke the shared-memory protocol; if it is an instance, its process is ended."""
        any(served.broken_peer(peer) for served in self._served.values())

    def _serves(self, source: ModelSource) -> bool:
        in_use = self._in_use.get(source.name)
        if in_use is None or in_use.stamp != source.stamp:
            return False
        ready = [version.version for version in self._registry.ready_versions(source.name)]
        return ready == list(source.config.versions)

    async def _load_all_versions(
        self, source: ModelSource, failures_of_steps: dict[str, str]
    ) -> None:
        versions = [self._registry.version(source.name, one) for one in source.config.versions]
        for version in versions:
            version.begin_load()
        results = await asyncio.gather(
            *(self._load_version(source, one, failures_of_steps) for one in versions),
            return_exceptions=True,
        )
        failures = {
            version: result
            for version, result in zip(versions, results, strict=True)
            if isinstance(result, BaseException)
        }
        loaded = [
            (version, *result)
            for version, result in zip(versions, results, strict=True)
            if not isinstance(result, BaseException)
        ]
        if failures:
            for _, served, _ in loaded:
                self._start(self._end(served))
            await self._fail(source, versions, failures)
        self._switch_to(source, loaded)
        log.info("successfully loaded '%s'", source.name)

    async def _load_version(
        self, source: ModelSource, version: ModelVersion, failures_of_steps: dict[str, str]
    ) -> tuple[Served, Loaded]:
        attempts = 1 + self._context.settings.model_load_retry_count
        async with self._load_slots:
            for left in reversed(range(attempts)):
                handle = next(self._handles)

                def broken(reason: str, handle: int = handle) -> None:
                    self._broken(version, handle, reason)

                load: VersionLoad | EnsembleLoad
                if is_ensemble(source):
                    load = EnsembleLoad(
                        self._context.environment,
                        source,
                        version.version,
                        handle,
                        gpu_count=self._context.gpu_count,
                        registry=self._registry,
                        failures=failures_of_steps,
                    )
                else:
                    load = VersionLoad(self._context, source, version.version, handle, broken)
                served: Served
                try:
                    served, loaded = await load.run()
                except ServerError as error:
                    log.error(
                        "failed to load '%s' version %d: %s",
                        source.name,
                        version.version,
                        _reason(error),
                    )
                    if not left:
                        raise
                else:
                    self._served[handle] = served
                    return served, loaded
        raise AssertionError("a load has at least one attempt")

    async def _fail(
        self,
        source: ModelSource,
        versions: list[ModelVersion],
        failures: dict[ModelVersion, BaseException],
    ) -> None:
        text = ""
        for version in versions:
            error = failures.get(version)
            if error is None:
                version.abandon_load()
                continue
            reason = _reason(error)
            if version.state is State.LOADING:
                version.fail(reason)
            text += f"version {version.version} is at UNAVAILABLE state: {reason};"
        source.discard()
        await self._settle()
        for error in failures.values():
            if not isinstance(error, ServerError):
                raise error  # a bug of ours, or the end of the server: not a matter of the model
        raise InvalidArgumentError(f"load failed for model '{source.name}': {text}\n")

    def _switch_to(
        self, source: ModelSource, loaded: list[tuple[ModelVersion, Served, Loaded]]
    ) -> None:
        new = {version.version for version, _, _ in loaded}
        for version, _, content in loaded:
            before = version.become_ready(content)
            if before is not None:
                self._start(self._end(self._served[before.handle]))
        for version in self._registry.ready_versions(source.name):
            if version.version not in new:
                self._unload_version(version)
        self._forget_source(source.name)
        self._in_use[source.name] = source
        self._remember(sorted(self._in_use))

    def _forget_source(self, name: str) -> None:
        source = self._in_use.pop(name, None)
        if source is not None and source.temporary:
            # Whatever is being drained may still read its files.
            self._start(self._discard_after(list(self._tasks), source))

    async def _discard_after(self, ending: list[asyncio.Task[None]], source: ModelSource) -> None:
        await asyncio.gather(*ending, return_exceptions=True)
        source.discard()

    def _unload_version(self, version: ModelVersion) -> asyncio.Task[None] | None:
        leaving = version.begin_unload()
        if leaving is None:
            return None
        log.info("unloading: %s:%d", version.name, version.version)
        return self._start(self._end(self._served[leaving.handle], version))

    async def _end_all(self, versions: list[ModelVersion]) -> None:
        ending = [self._unload_version(version) for version in versions]
        await asyncio.gather(*(task for task in ending if task is not None))

    def _runs_steps(self, version: ModelVersion) -> bool:
        loaded = version.loaded
        return loaded is not None and isinstance(self._served.get(loaded.handle), EnsembleVersion)

    async def _end(self, served: Served, version: ModelVersion | None = None) -> None:
        """Drains and ends what served; `version` is told if it is being unloaded."""
        # Frontends send nothing more to it once they have taken in the new state; what they had
        # taken by then is in their rings one turn of their loops later, which the second time
        # tells.
        await self._settle()
        await self._settle()
        await served.stop()
        self._served.pop(served.handle, None)
        if version is not None:
            version.finish_unload(served.handle)
            log.info("successfully unloaded '%s' version %d", version.name, version.version)

    def _broken(self, version: ModelVersion, handle: int, reason: str) -> None:
        """Its processes die again and again: out of service, with the reason."""
        served = self._served.get(handle)
        if served is None:
            return
        if version.loaded is not None and version.loaded.handle == handle:
            version.fail(f"Unavailable: {reason}")
        self._start(self._end(served))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("ending a model version failed", exc_info=task.exception())


def _reason(error: BaseException) -> str:
    """As Triton prints a status: `Invalid argument: ...`."""
    if isinstance(error, ServerError):
        return f"{error.code_name}: {error}"
    return f"{InternalError.code_name}: {type(error).__name__}: {error}"
