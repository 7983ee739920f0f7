"""--model-control-mode=poll: the models follow what is in the repositories.

The kernel tells of changes (inotify, where the repository is a local folder and watchfiles is
installed); every --repository-poll-secs it is looked at anyway. What has changed is loaded when it
lies still. Each model is dealt with by itself: one that is broken or slow holds up no other, and
what served before a load that fails goes on serving.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from pyserver.core.ensemble_fit import step_models
from pyserver.core.model_loader import ModelLoader
from pyserver.core.model_source import ModelSources
from pyserver.errors import ServerError
from pyserver.repository.changes import SETTLE_S, SettledChanges
from pyserver.repository.registry import DUPLICATED

log = logging.getLogger(__name__)

# How long watchfiles waits for more events; it looks as often whether it is to stop.
_STEP_MS: Final = 250


class RepositoryWatch:
    """Begins with what was found before the models of the start were loaded: what has changed since
    then is a change.
    """

    def __init__(
        self,
        sources: ModelSources,
        loader: ModelLoader,
        *,
        folders: list[Path],
        every_s: float,
        spawn_task: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._sources = sources
        self._loader = loader
        self._folders = folders
        self._every_s = every_s
        self._spawn_task = spawn_task
        self._loop = asyncio.get_running_loop()
        self._changes = SettledChanges({})
        self._changed = asyncio.Event()
        self._end = asyncio.Event()
        self._busy: set[str] = set()
        self._duplicates: frozenset[str] = frozenset()
        self._unreadable = ""

    async def begin(self) -> None:
        """Remembers what is there now; raises InvalidArgumentError when that cannot be read."""
        marks, self._duplicates = await asyncio.to_thread(self._sources.marks)
        self._changes = SettledChanges(marks)

    async def run(self) -> None:
        """Until `close`."""
        self._spawn_task(self._listen())
        while not self._end.is_set():
            await self._pause(SETTLE_S / 2 if self._changes.moving else self._every_s)
            if not self._end.is_set():
                await self._look()

    def close(self) -> None:
        """Takes up nothing new; what has begun goes on."""
        self._end.set()
        self._changed.set()

    async def _pause(self, longest_s: float) -> None:
        try:
            async with asyncio.timeout(longest_s):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def _listen(self) -> None:
        """Hears from the kernel. Without it the interval alone tells."""
        if not self._folders:
            return
        try:
            from watchfiles import awatch
        except ImportError:
            log.info("watchfiles is not installed: the repository is looked at every interval only")
            return
        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of each event
        try:
            begun = False
            async for events in awatch(
                *self._folders,
                watch_filter=None,
                stop_event=self._end,
                step=_STEP_MS,
                yield_on_timeout=True,
                rust_timeout=4 * _STEP_MS,
                ignore_permission_denied=True,
            ):
                # Once without events: what has changed before the watches stood, nobody tells.
                if events or not begun:
                    self._changed.set()
                begun = True
        except Exception as error:  # too many watches, a folder that is gone: not our end
            log.warning(
                "the kernel does not tell of changes in the repository (%s): it is looked at every"
                " %g s",
                error,
                self._every_s,
            )

    async def _look(self) -> None:
        try:
            marks, duplicates = await asyncio.to_thread(self._sources.marks)
        except ServerError as error:
            # A repository that cannot be read is no reason to unload everything.
            if str(error) != self._unreadable:
                log.error("the models stay as they are: %s", error)
            self._unreadable = str(error)
            return
        self._unreadable = ""
        for name in sorted(duplicates - self._duplicates):
            log.error("failed to load '%s': %s", name, DUPLICATED)
        self._duplicates = duplicates
        settled = self._changes.take(marks, self._loop.time(), leave=duplicates | self._busy)
        for name in settled.load:
            self._do(name, self._loader.load(name))
        for name in settled.unload:
            self._do(name, self._loader.unload(name))

    def _do(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._busy.add(name)
        self._spawn_task(self._done(name, work))

    async def _done(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except ServerError:
            return  # the loader has said why
        finally:
            self._busy.discard(name)
            self._changed.set()
        for ensemble in await self._waiting_for(name):
            if ensemble not in self._busy and not self._end.is_set():
                self._do(ensemble, self._loader.load(ensemble))

    async def _waiting_for(self, name: str) -> list[str]:
        """Ensembles whose load failed and may succeed now that this model has changed."""

        def needs(ensemble: str) -> bool:
            try:
                return name in step_models(self._sources.peek(ensemble))
            except ServerError:
                return False

        failed = list(self._loader.load_failures)
        return [one for one in failed if await asyncio.to_thread(needs, one)]
