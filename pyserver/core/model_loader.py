"""Loading and unloading of whole models: all versions or none, one at a time for each model.

A reload brings the new versions up beside the old ones, switches over at once, and lets the old
ones finish what they have; ensembles that need the model change over with it. A failed load leaves
everything as it was.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace

from pyserver.core.dependents import Dependents
from pyserver.core.endings import Endings, Leaving
from pyserver.core.ensemble_fit import is_ensemble, refuse_circle, step_models
from pyserver.core.ensemble_load import EnsembleLoad
from pyserver.core.load_order import LoadOrder
from pyserver.core.model_source import LoadFailed, ModelSource, ModelSources, NoVersion, PollFailed
from pyserver.core.running_versions import RunningVersions, Served
from pyserver.core.version_load import LoadContext, VersionLoad
from pyserver.errors import InternalError, ServerError
from pyserver.repository.identity import name_of
from pyserver.repository.lifecycle import Loaded, ModelVersion, State
from pyserver.repository.override import LoadOverride
from pyserver.repository.registry import Registry
from pyserver.repository.scan import check_model_name

log = logging.getLogger(__name__)


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
        self.running = RunningVersions()
        self._in_use: dict[str, ModelSource] = {}
        self._asked_for: set[str] = set()  # not loaded for an ensemble alone
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._load_slots = asyncio.Semaphore(context.settings.model_load_thread_count)
        self.order = LoadOrder()
        self._handles = itertools.count(1)
        self._endings = Endings(
            self.running, settle, context.environment.calls.metrics, context.collect
        )
        # Models whose folder or config is no good, and why.
        self.poll_failures: dict[str, str] = {}
        # Models whose last load failed later than that: Triton's reason.
        self.load_failures: dict[str, str] = {}
        self.dependents = Dependents(registry, self._in_use, self.load_failures, self._join)

    def never_loaded(self) -> dict[str, str]:
        """Models that did not get as far as having versions, and why."""
        failures = self.poll_failures | self.load_failures
        return {
            name: reason
            for name, reason in failures.items()
            if name in self.poll_failures or not self._registry.versions(name)
        }

    async def load(
        self, name: str, override: LoadOverride | None = None, *, waiter: str = ""
    ) -> None:
        """Loads or reloads every model of that name, or of that identity; returns when the new
        versions serve, or raises with Triton's texts.

        `waiter`: the model whose own load waits for this one.
        """
        models: list[str] = []
        if self._context.settings.model_namespacing:
            models = (await asyncio.to_thread(self._sources.scan)).named(name)
        if models != [name] or name_of(name) == name:
            check_model_name(name)
        loads = [self._load_one(model, override, waiter) for model in models or [name]]
        if len(loads) == 1:
            return await loads[0]
        for result in await asyncio.gather(*loads, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _load_one(self, model: str, override: LoadOverride | None, waiter: str) -> None:
        with self.order.waiting(waiter, model) if waiter else nullcontext():
            await self._load(model, override, nested=bool(waiter))
        self._asked_for.add(model)

    async def _load(
        self, name: str, override: LoadOverride | None = None, *, nested: bool = False
    ) -> None:
        async with self._locks[name]:
            self.poll_failures.pop(name, None)
            self.load_failures.pop(name, None)
            try:
                source = await asyncio.to_thread(self._sources.open, name, override)
                if self._serves(source):
                    await asyncio.to_thread(source.discard)
                    return
                source = await asyncio.to_thread(self._sources.run_agents, source, override)
                if is_ensemble(source):
                    await self._prepare_steps(source, nested)
                await self._load_all_versions(source, nested)
                await asyncio.to_thread(source.loaded)
            except PollFailed as error:
                self.poll_failures[name] = error.reason
                raise
            except LoadFailed as error:
                self.load_failures[name] = error.reason
                if isinstance(error, NoVersion):
                    self._registry.know(name)
                raise
            await self._settle()

    async def _prepare_steps(self, source: ModelSource, nested: bool) -> None:
        """Loads the models that an ensemble needs; raises LoadFailed if it does not fit them."""
        try:
            await refuse_circle(source, self._known_source)
            needed = step_models(source)
            with self.order.needing(needed):
                steps = [self._load_step(source.name, one, nested) for one in needed]
                for result in await asyncio.gather(*steps, return_exceptions=True):
                    if isinstance(result, BaseException) and not isinstance(result, ServerError):
                        raise result
            self.dependents.check(source)
        except ServerError as error:
            log.error("failed to load '%s': %s", source.name, error)
            await asyncio.to_thread(source.discard)
            raise LoadFailed(source.name, str(error)) from error

    async def _load_step(self, ensemble: str, name: str, nested: bool) -> None:
        if not self._context.settings.loads_when_asked:
            async with self._locks[name]:
                tried = (
                    name in self.poll_failures
                    or name in self.load_failures
                    or any(self._registry.versions(name).values())
                )
            if tried:  # what failed at the start is not tried again
                return
        elif self._registry.ready_versions(name):
            return
        with self.order.waiting(ensemble, name):
            await self._load(name, nested=nested)

    async def _known_source(self, name: str) -> ModelSource | None:
        """What the model serves with now, or would be loaded from."""
        if name in self._in_use and self._registry.ready_versions(name):
            return self._in_use[name]
        try:
            return await asyncio.to_thread(self._sources.peek, name)
        except ServerError:
            return None  # told when it is loaded

    async def unload(self, name: str, *, dependents: bool = False) -> None:
        """Takes the model out of service at once; what is in flight is finished after return.
        Ensembles that need it wait until it is loaded again. `dependents`: the models of its steps
        go too, as far as they came with it alone.
        """
        for model in self._registry.named(name) or [name]:
            await self._unload_one(model, dependents=dependents)

    async def _unload_one(self, name: str, *, dependents: bool) -> None:
        source = self._in_use.get(name)
        await self._unload(name)
        for step in step_models(source) if source is not None and dependents else ():
            if step not in self._asked_for and not self.dependents.of(step):
                await self.unload(step, dependents=True)

    async def _unload(self, name: str) -> None:
        async with self._locks[name]:
            self._asked_for.discard(name)
            for dependent in self.dependents.of(name):
                await self._endings.unload_all(self._registry.ready_versions(dependent))
            for version in self._registry.ready_versions(name):
                self._endings.unload(version)
            for version in self._registry.versions(name).values():
                if self._waits(version):
                    version.begin_load()
                    version.abandon_load()
            self.load_failures.pop(name, None)
            self._forget_source(name)
            # One that came back meanwhile, because of another of its models.
            self._endings.end_in_order(self._endings.leaving(self.dependents.recheck(name)))
            self._remember(self.dependents.lasting())
            await self._settle()

    def _waits(self, version: ModelVersion) -> bool:
        """Whether it is an ensemble's, which would serve if it fitted."""
        source = self._in_use.get(version.name)
        return source is not None and is_ensemble(source) and version.state is State.UNAVAILABLE

    async def unload_everything(self) -> None:
        """Unloads all models and waits until their processes have ended."""
        for source in list(self._in_use.values()):
            if is_ensemble(source):  # while their steps can still run
                for name in (*self.dependents.of(source.name), source.name):
                    await self._endings.unload_all(self._registry.ready_versions(name))
        for version in list(self._registry):
            self._endings.unload(version)
        for name in list(self._in_use):
            self._forget_source(name)
        await self._endings.all_over()

    def is_needed(self, name: str) -> bool:
        """Whether ensembles are composed of it."""
        return any(self.dependents.of(model) for model in self._registry.named(name))

    def set_verbosity(self, level: int) -> None:
        """What --log-verbose is from now on, for all instances."""
        settings = replace(self._context.settings, log_verbose=level)
        self._context = replace(self._context, settings=settings)
        self.running.set_verbosity(level)

    def _serves(self, source: ModelSource) -> bool:
        in_use = self._in_use.get(source.name)
        if in_use is None or in_use.stamp != source.stamp:
            return False
        ready = [version.version for version in self._registry.ready_versions(source.name)]
        return ready == list(source.config.versions)

    async def _load_all_versions(self, source: ModelSource, nested: bool) -> None:
        versions = [self._registry.version(source.name, one) for one in source.config.versions]
        for version in versions:
            version.begin_load()
        results = await asyncio.gather(
            *(self._load_version(source, one, nested) for one in versions), return_exceptions=True
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
        if not failures:
            try:
                self.dependents.check(source)  # a step may have gone while this was loading
            except ServerError as error:
                failures = dict.fromkeys(versions, error)
        if failures:
            for _, served, _ in loaded:
                self._endings.start(self._endings.end(served))
            await self._fail(source, versions, failures)
        await self._switch_to(source, loaded)
        log.info("successfully loaded '%s'", source.name)

    async def _load_version(
        self, source: ModelSource, version: ModelVersion, nested: bool
    ) -> tuple[Served, Loaded]:
        attempts = 1 + self._context.settings.model_load_retry_count
        # Who waits for this one may have the last slot.
        async with nullcontext() if nested else self._load_slots:
            for left in reversed(range(attempts)):
                handle = next(self._handles)

                def broken(reason: str, handle: int = handle) -> None:
                    self._broken(version, handle, reason)

                load: VersionLoad | EnsembleLoad
                if is_ensemble(source):
                    load = self._ensemble_load(source, version.version, handle)
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
                    self.running[handle] = served
                    return served, loaded
        raise AssertionError("a load has at least one attempt")

    def _ensemble_load(self, source: ModelSource, version: int, handle: int) -> EnsembleLoad:
        return EnsembleLoad(
            self._context.environment,
            source,
            version,
            handle,
            gpu_count=self._context.gpu_count,
            registry=self._registry,
            failures=self.load_failures,
        )

    async def _join(self, source: ModelSource, version: int) -> Loaded:
        """Makes an ensemble's version anew, with its steps' models as they are now."""
        handle = next(self._handles)
        self.running[handle], loaded = await self._ensemble_load(source, version, handle).run()
        return loaded

    async def _fail(
        self,
        source: ModelSource,
        versions: list[ModelVersion],
        failures: Mapping[ModelVersion, BaseException],
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
        await asyncio.to_thread(source.discard)
        self._endings.forget_metrics(source.name)
        await self._settle()
        for error in failures.values():
            if not isinstance(error, ServerError):
                raise error  # a bug of ours, or the end of the server: not a matter of the model
        raise LoadFailed(source.name, text)

    async def _switch_to(
        self, source: ModelSource, loaded: list[tuple[ModelVersion, Served, Loaded]]
    ) -> None:
        new = {version.version for version, _, _ in loaded}
        leaving: list[Leaving] = []
        for version, _, content in loaded:
            before = version.become_ready(content)
            if before is not None:
                leaving.append((self.running[before.handle], None))
        for version in self._registry.ready_versions(source.name):
            if version.version not in new:
                leaving += self._endings.begin_unload(version)
        in_use = self._in_use.get(source.name)
        self._in_use[source.name] = source
        self._remember(self.dependents.lasting())
        ensembles: list[int] = []
        try:
            ensembles = await self.dependents.refit(source.name)
        finally:
            # A request that an ensemble has begun with the old versions ends with them.
            self._endings.end_in_order([*self._endings.leaving(ensembles), *leaving])
            self._endings.discard_later(in_use)

    def _forget_source(self, name: str) -> None:
        self._endings.discard_later(self._in_use.pop(name, None))

    def _broken(self, version: ModelVersion, handle: int, reason: str) -> None:
        """Its processes die again and again: out of service, with the reason."""
        served = self.running.get(handle)
        if served is None:
            return
        if version.loaded is not None and version.loaded.handle == handle:
            version.fail(f"Unavailable: {reason}")
            self.load_failures.pop(version.name, None)
        # Which answers what ensembles have in its queue.
        self._endings.start(self._endings.end(served))
        self._endings.end_in_order(self._endings.leaving(self.dependents.recheck(version.name)))


def _reason(error: BaseException) -> str:
    """As Triton prints a status: `Invalid argument: ...`."""
    if isinstance(error, ServerError):
        return f"{error.code_name}: {error}"
    return f"{InternalError.code_name}: {type(error).__name__}: {error}"
