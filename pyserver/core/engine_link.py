"""The engine as the control plane sees it, and its events on the asyncio loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pyserver._core import WarmUp

log = logging.getLogger(__name__)


class Engine(Protocol):
    """What the control plane needs of `pyserver._core.Engine`; see csrc/bindings/engine.cc."""

    @property
    def region_fd(self) -> int: ...
    @property
    def event_fd(self) -> int: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def make_peer(self, kind: str, region_bytes: int) -> tuple[int, list[int]]: ...
    def retire_peer(self, peer: int, message: str) -> None: ...
    def add_model(self, handle: int, settings: Mapping[str, Any]) -> None: ...
    def announce(self, entry: str) -> None: ...
    def drain_model(self, handle: int) -> None: ...
    def waited_for(self, handle: int) -> bool: ...
    def stop_models(self) -> None: ...
    def abort_model(self, handle: int, message: str) -> None: ...
    def remove_model(self, handle: int) -> None: ...
    def add_instance(self, handle: int, peer: int, index: int = 0) -> None: ...
    def remove_instance(self, peer: int) -> None: ...
    def cache_elsewhere(self) -> None: ...
    def cache_answer(self, handle: int, key: bytes, data: bytes | None) -> None: ...
    def cache_kept(self, byte_size: int) -> None: ...
    def warm_up(self, handle: int, peer: int, sample: WarmUp) -> None: ...
    def overdue(self) -> list[int]: ...
    def statistics(self, handle: int) -> dict[str, Any]: ...
    def usage(self) -> dict[int, tuple[int, int]]: ...
    def counters(self) -> dict[str, int]: ...
    def events(self) -> list[tuple[Any, ...]]: ...


class EngineEvents:
    """Listens to the engine: somebody may wait for a model to be drained or for an instance to have
    run a warm-up sample, or hear of broken peers.
    """

    def __init__(
        self,
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        on_broken: Callable[[int, str], None],
    ) -> None:
        self._engine = engine
        self._loop = loop
        self._on_broken = on_broken
        self._draining: dict[int, asyncio.Future[None]] = {}
        # Hears "cache_ask" and "cache_keep", each with a model's handle and a key, and the data.
        self.on_cache: Callable[..., None] | None = None
        self._warming: dict[int, asyncio.Future[str]] = {}
        self._quiet = asyncio.Event()
        loop.add_reader(engine.event_fd, self._readable)

    def close(self) -> None:
        self._loop.remove_reader(self._engine.event_fd)

    async def drain(self, handle: int) -> None:
        """Lets the model take nothing new and waits until all that is in has been answered."""
        await self._drained(handle, lambda: self._engine.drain_model(handle))

    async def quiet(self) -> None:
        """Lets all models take nothing new, and waits until no sequence lives any more."""
        self._engine.stop_models()
        await self._quiet.wait()

    async def abort(self, handle: int, message: str) -> None:
        """Refuses what is queued with the message, and waits for what is running."""
        await self._drained(handle, lambda: self._engine.abort_model(handle, message))

    async def _drained(self, handle: int, begin: Callable[[], None]) -> None:
        waiting = self._draining.get(handle)
        if waiting is None:
            waiting = self._draining[handle] = self._loop.create_future()
        try:
            begin()
            await asyncio.shield(waiting)
        finally:
            if waiting.done():
                self._draining.pop(handle, None)

    async def warm_up(self, handle: int, peer: int, sample: WarmUp) -> str:
        """Lets an instance that takes no traffic yet run the sample; what went wrong, or nothing.

        Ends with the instance, too. Raises ServerError when it cannot be sent.
        """
        over: asyncio.Future[str] = self._loop.create_future()
        self._warming[peer] = over
        try:
            self._engine.warm_up(handle, peer, sample)
            return await over
        finally:
            self._warming.pop(peer, None)

    def _readable(self) -> None:
        for event in self._engine.events():
            if event[0] == "drained":
                waiting = self._draining.get(event[1])
                if waiting is not None and not waiting.done():
                    waiting.set_result(None)
            elif event[0] in ("cache_ask", "cache_keep"):
                if self.on_cache is not None:
                    self.on_cache(*event)
            elif event[0] == "warmed_up":
                over = self._warming.get(event[1])
                if over is not None and not over.done():
                    over.set_result(event[2])
            elif event[0] == "quiet":
                self._quiet.set()
            elif event[0] == "broken":
                log.error("peer %d broke the shared-memory protocol: %s", event[1], event[2])
                self._on_broken(event[1], event[2])
