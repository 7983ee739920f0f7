"""The end of versions that serve no more: drained, their processes ended, their files removed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from pyserver.core.model_source import ModelSource
from pyserver.core.running_versions import RunningVersions, Served
from pyserver.repository.lifecycle import ModelVersion

log = logging.getLogger(__name__)

# What is to be ended, and the version that is told then, if it is being unloaded.
Leaving = tuple[Served, ModelVersion | None]


class ModelMetrics(Protocol):
    def forget(self, model: str) -> None: ...


class Endings:
    """`settle()` returns when all frontends know the registry's present state. `collect()` gives
    back what a load leaves in circles: Python's collector comes by too seldom for that.
    """

    def __init__(
        self,
        running: RunningVersions,
        settle: Callable[[], Awaitable[None]],
        metrics: ModelMetrics,
        collect: Callable[[], object],
    ) -> None:
        self._running = running
        self._settle = settle
        self._metrics = metrics
        self._collect = collect
        self._tasks: set[asyncio.Task[None]] = set()

    async def all_over(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def discard_later(self, source: ModelSource | None) -> None:
        """Removes a source's files when what ends now has ended: it may still read them."""
        if source is not None and source.temporary:
            self.start(self._discard_after(list(self._tasks), source))

    async def _discard_after(self, ending: list[asyncio.Task[None]], source: ModelSource) -> None:
        await asyncio.gather(*ending, return_exceptions=True)
        await asyncio.to_thread(source.discard)

    def begin_unload(self, version: ModelVersion) -> list[Leaving]:
        leaving = version.begin_unload()
        if leaving is None:
            return []
        log.info("unloading: %s:%d", version.name, version.version)
        return [(self._running[leaving.handle], version)]

    def unload(self, version: ModelVersion) -> list[asyncio.Task[None]]:
        return [self.start(self.end(*leaving)) for leaving in self.begin_unload(version)]

    async def unload_all(self, versions: list[ModelVersion]) -> None:
        ending = [task for version in versions for task in self.unload(version)]
        await asyncio.gather(*ending)

    def leaving(self, handles: list[int]) -> list[Leaving]:
        return [(self._running[handle], None) for handle in handles]

    def end_in_order(self, leaving: list[Leaving]) -> None:
        async def end_each() -> None:
            for served, version in leaving:
                await self.end(served, version)

        if leaving:
            self.start(end_each())

    async def end(self, served: Served, version: ModelVersion | None = None) -> None:
        """Drains and ends what served; `version` is told if it is being unloaded."""
        # Frontends send nothing more to it once they have taken in the new state; what they had
        # taken by then is in their rings one turn of their loops later, which the second time
        # tells.
        await self._settle()
        await self._settle()
        await served.stop()
        self._running.pop(served.handle, None)
        self.forget_metrics(served.name)
        if version is not None:
            version.finish_unload(served.handle)
            log.info("successfully unloaded '%s' version %d", version.name, version.version)
        self._collect()

    def forget_metrics(self, name: str) -> None:
        if not self._running.has_model(name):
            self._metrics.forget(name)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Somebody waits for it at the end of the server."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("ending a model version failed", exc_info=task.exception())
