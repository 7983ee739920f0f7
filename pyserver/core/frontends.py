"""The conversations with the frontend processes: what they may serve, and what they hand over.

A frontend is told of all regions and of the whole catalog before it is told to serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

from pyserver.control.channel import AsyncControlSocket, Message
from pyserver.core.engine_link import Engine
from pyserver.core.peers import PeerDirectory, Side

log = logging.getLogger(__name__)

# A frontend answers control messages between two turns of its loop.
_ANSWER_WITHIN_S = 2.0


class Frontend:
    """One frontend process. `on_gone(frontend)` comes when its control socket closes."""

    def __init__(
        self,
        index: int,
        fd: int,
        loop: asyncio.AbstractEventLoop,
        *,
        on_proxy: Callable[[int], None],
        on_want: Callable[[str], None],
        on_gone: Callable[[Frontend], None],
    ) -> None:
        self.index = index
        self.peer = -1
        self.serving = False
        self._loop = loop
        self._on_proxy = on_proxy
        self._on_want = on_want
        self._on_gone = on_gone
        self._regions: dict[int, asyncio.Future[None]] = {}
        self._counters: list[asyncio.Future[Message]] = []
        self._control = AsyncControlSocket(
            fd, loop, on_message=self._received, on_closed=self._closed
        )

    def __str__(self) -> str:
        return f"frontend {self.index}"

    @property
    def alive(self) -> bool:
        return not self._control.closed

    def send(self, message: Message, fds: Iterable[int] = ()) -> None:
        self._control.send(message, list(fds))

    def introduce_region(self, peer: int, fd: int) -> asyncio.Future[None]:
        confirmed = self._loop.create_future()
        if self.alive:
            self._regions[peer] = confirmed
            self._control.send({"op": "region", "peer": peer}, [fd])
        else:
            confirmed.set_result(None)
        return confirmed

    def retire_region(self, peer: int) -> None:
        self._control.send({"op": "retire", "peer": peer})

    async def counters(self) -> dict[str, Any]:
        """Its counters; all that was sent before has been taken in by then. Empty: no answer."""
        if not self.alive:
            return {}
        answer: asyncio.Future[Message] = self._loop.create_future()
        self._counters.append(answer)
        self._control.send({"op": "counters"})
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                return {name: value for name, value in (await answer).items() if name != "op"}
        except TimeoutError:
            log.warning("%s does not answer", self)
            return {}
        finally:
            with contextlib.suppress(ValueError):
                self._counters.remove(answer)

    def close(self) -> None:
        self._control.close()
        for confirmed in self._regions.values():
            if not confirmed.done():
                confirmed.set_result(None)
        self._regions.clear()
        for answer in self._counters:
            if not answer.done():
                answer.set_result({"op": "counters"})

    def _received(self, message: Message, fds: list[int]) -> None:
        op = message["op"]
        if op == "proxy" and len(fds) == 1:
            self._on_proxy(fds[0])
            return
        for fd in fds:
            os.close(fd)
        if op == "region_ok":
            confirmed = self._regions.pop(int(message.get("peer", -1)), None)
            if confirmed is not None and not confirmed.done():
                confirmed.set_result(None)
        elif op == "counters":
            waiting = next((one for one in self._counters if not one.done()), None)
            if waiting is not None:
                waiting.set_result(message)
        elif op == "want":
            self._on_want(str(message["name"]))
        elif op != "hello":
            log.warning("%s said something unknown: '%s'", self, op)

    def _closed(self) -> None:
        self.close()
        self._on_gone(self)


class Frontends:
    """All frontends, by index. `catalog()` gives the messages that describe all models."""

    def __init__(
        self,
        engine: Engine,
        directory: PeerDirectory,
        loop: asyncio.AbstractEventLoop,
        *,
        region_bytes: int,
        catalog: Callable[[], Iterable[Message]],
        on_proxy: Callable[[int], None],
        on_want: Callable[[str], None],
        kill: Callable[[int], None],
    ) -> None:
        """`kill(index)` ends the frontend process of that index. `on_want(name)` hears of a model
        that requests wait for.
        """
        self._engine = engine
        self._directory = directory
        self._loop = loop
        self._region_bytes = region_bytes
        self._catalog = catalog
        self._on_proxy = on_proxy
        self._on_want = on_want
        self._kill = kill
        self._frontends: dict[int, Frontend] = {}
        self._health: Message = {"op": "health", "ready": False, "live": True}
        self._may_serve = asyncio.Event()
        self._grpc_link: int | None = None

    def __len__(self) -> int:
        return len(self._frontends)

    async def add(self, index: int, fd: int) -> None:
        """Takes in a new frontend process; returns when it serves, or is gone again."""
        self.remove(index)
        frontend = Frontend(
            index,
            fd,
            self._loop,
            on_proxy=self._on_proxy,
            on_want=self._on_want,
            on_gone=self._socket_closed,
        )
        self._frontends[index] = frontend
        peer, fds = self._engine.make_peer("frontend", self._region_bytes)
        frontend.peer = peer
        frontend.send({"op": "attach", "peer": peer}, fds)
        if self._grpc_link is not None:
            frontend.send({"op": "grpc"}, [self._grpc_link])
        for one in fds[:3]:
            os.close(one)
        await self._directory.join(Side.FRONTEND, frontend, {peer: fds[3]})
        await self._may_serve.wait()
        if not frontend.alive:
            return
        # From here on changes of the catalog reach it as they come.
        frontend.serving = True
        for message in self._catalog():
            frontend.send(message)
        frontend.send(self._health)
        frontend.send({"op": "serve"})

    def remove(self, index: int, reason: str = "") -> None:
        """The process of this index is gone, or is being replaced."""
        frontend = self._frontends.pop(index, None)
        if frontend is None:
            return
        frontend.close()
        if frontend.peer >= 0:
            self._engine.retire_peer(frontend.peer, f"{frontend} ended {reason}".strip())
            self._directory.leave(Side.FRONTEND, frontend)

    def serve(self) -> None:
        """The catalog is complete: all frontends may serve, those to come as well."""
        self._may_serve.set()

    def connect_grpc(self, link_fd: int) -> None:
        """Where frontends, and those to come, pass on gRPC calls; the descriptor must stay open."""
        self._grpc_link = link_fd
        for frontend in self._frontends.values():
            frontend.send({"op": "grpc"}, [link_fd])

    def announce(self, message: Message) -> None:
        """To all that serve; the others get the whole catalog before they do."""
        for frontend in self._frontends.values():
            if frontend.serving:
                frontend.send(message)

    def set_health(self, *, ready: bool, live: bool) -> None:
        health = {"op": "health", "ready": ready, "live": live}
        if health != self._health:
            self._health = health
            self.announce(health)

    async def settle(self) -> None:
        """Returns when all serving frontends have taken in what was announced so far."""
        await self.counters()

    async def counters(self) -> dict[int, dict[str, Any]]:
        """The counters of each serving frontend, by index."""
        serving = [one for one in self._frontends.values() if one.serving]
        figures = await asyncio.gather(*(one.counters() for one in serving))
        return {one.index: its for one, its in zip(serving, figures, strict=True)}

    def broken(self, peer: int) -> bool:
        """Whether the peer is a frontend; if so, it is ended, and the supervisor starts a new
        one.
        """
        for index, frontend in list(self._frontends.items()):
            if frontend.peer == peer:
                self.remove(index, "because it broke the shared-memory protocol")
                self._kill(index)
                return True
        return False

    def close(self) -> None:
        for frontend in self._frontends.values():
            frontend.close()
        self._frontends.clear()

    def _socket_closed(self, frontend: Frontend) -> None:
        if self._frontends.get(frontend.index) is frontend:
            self.remove(frontend.index)
