"""Instance processes that call other models: what they are told of the models, and whom they meet.

Most models never call another one, so a process hears nothing until it asks for its first call.
From then on it is told of every change of the catalog, as frontends are, and everybody whose memory
may come to it, or its own to them, has been introduced before it is answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from pyserver.control.channel import Message
from pyserver.core.ensemble_fit import PLATFORM, models_with_processes
from pyserver.core.peers import PeerDirectory
from pyserver.repository.registry import Registry

log = logging.getLogger(__name__)

# A process whose model keeps Python to itself for longer must not hold up a change of the catalog.
SETTLE_WITHIN_S: Final = 1.0


class Caller(Protocol):
    """An instance process, as far as calls go."""

    @property
    def alive(self) -> bool: ...

    def send(self, message: Message) -> None: ...

    async def settle(self) -> None:
        """Returns when it has taken in what was sent before, or is gone."""


class Callers:
    """All processes that have asked to call. `catalog()` gives the messages that describe all
    models.
    """

    def __init__(
        self,
        directory: PeerDirectory,
        registry: Registry,
        loop: asyncio.AbstractEventLoop,
        catalog: Callable[[], Iterable[Message]],
    ) -> None:
        self._directory = directory
        self._registry = registry
        self._loop = loop
        self._catalog = catalog
        self._listening: list[Caller] = []
        self._tasks: set[asyncio.Task[None]] = set()
        # Loads a model that is called; returns when it serves, or was not loaded.
        self.bring: Callable[[str], Awaitable[None]] | None = None

    def asked(self, caller: Caller, model: str, message: Message) -> None:
        """A process of `model` is about to call {"model": name}; it waits for the answer."""
        self._listening = [one for one in self._listening if one.alive]
        if caller not in self._listening:
            self._listening.append(caller)
            for entry in self._catalog():
                caller.send(entry)
        task = self._loop.create_task(self._answer(caller, model, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def announce(self, entry: Message) -> None:
        for caller in self._listening:
            caller.send(entry)

    async def settle(self) -> None:
        """Returns when all that listen have taken in what was announced so far."""
        try:
            async with asyncio.timeout(SETTLE_WITHIN_S):
                await asyncio.gather(*(one.settle() for one in self._listening if one.alive))
        except TimeoutError:
            log.warning("an instance process that calls other models does not answer")

    async def _answer(self, caller: Caller, model: str, message: Message) -> None:
        met = False
        try:
            met = await self._introduce(model, str(message["model"]))
        finally:
            caller.send({"op": "met", "number": message["number"], "met": met})

    async def _introduce(self, caller: str, name: str) -> bool:
        named = self._registry.namesakes(name)
        if len(named) > 1:
            return False  # its catalog says so, too
        name = named[0] if named else name
        if self.bring is not None and not self._registry.ready_versions(name):
            await self.bring(name)
        versions = self._registry.ready_versions(name)
        # An ensemble under its own name too: with its next version other models may come in.
        models = {caller, name}
        for version in versions:
            if version.loaded is not None and version.loaded.config.platform == PLATFORM:
                models |= models_with_processes(version.loaded.steps.values(), self._registry)
        if versions:
            await self._directory.acquaint(frozenset(models))
        return bool(versions)
