"""Who may read whose region: each side is told of the other's regions before it can meet them.

Frontends read the regions of instances (their answers) and of core (its errors); instance processes
read those of frontends (requests) and of core, and those of each other where an ensemble or a call
joins their models: a tensor may be handed on by reference, so whoever is joined to one is joined to
all. `join` returns when everybody has confirmed, so that
no record can name a region that its reader does not know.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Coroutine, Mapping
from enum import Enum
from typing import Any, Final, Protocol

log = logging.getLogger(__name__)

CORE_PEER: Final = 0
# A reader that does not confirm in this time is stuck; it must not hold up everybody else.
CONFIRM_WITHIN_S: Final = 1.0
# Records that name a retired region may still be on their way to a reader that is behind.
FORGET_AFTER_S: Final = 1.0


class Side(Enum):
    FRONTEND = "frontend"
    INSTANCE = "instance"

    @property
    def other(self) -> Side:
        return Side.INSTANCE if self is Side.FRONTEND else Side.FRONTEND


class RegionReader(Protocol):
    """A process that maps other processes' regions."""

    def introduce_region(self, peer: int, fd: int) -> Awaitable[None]:
        """Tells of a region; done when confirmed, or when the process is gone."""
        ...

    def retire_region(self, peer: int) -> None: ...


class _Member:
    def __init__(self, reader: RegionReader, regions: dict[int, int], model: str) -> None:
        self.reader = reader
        self.model = model  # of an instance process
        self.known: set[int] = set()  # peers that it was told of
        self.regions = regions


class PeerDirectory:
    """All processes that take part in inference, with the descriptors of their regions."""

    def __init__(self, core_region_fd: int, loop: asyncio.AbstractEventLoop) -> None:
        """`core_region_fd` stays the caller's."""
        self._core_region_fd = core_region_fd
        self._loop = loop
        self._members: dict[Side, list[_Member]] = {Side.FRONTEND: [], Side.INSTANCE: []}
        self._joined: list[set[str]] = []  # names of models, each in one of them at most
        # Who asks for what another is having introduced waits for the same confirmations.
        self._acquainting = asyncio.Lock()

    async def join(
        self, side: Side, reader: RegionReader, regions: Mapping[int, int], model: str = ""
    ) -> None:
        """Takes a process in; `regions` are its peers' region descriptors, which become ours."""
        member = _Member(reader, dict(regions), model)
        others = list(self._members[side.other])
        if side is Side.INSTANCE:
            others += [one for one in self._members[side] if self._meet(one, member)]
        # Listed before the first wait: whoever joins meanwhile meets this member too.
        self._members[side].append(member)
        if side is Side.INSTANCE and self._meet(member, member):
            others.append(member)
        waits = [self._introduce(reader, CORE_PEER, self._core_region_fd)]
        for other in others:
            waits += self._tell(other, member)
            waits += self._tell(member, other)
        await asyncio.gather(*waits)

    async def acquaint(self, models: frozenset[str]) -> None:
        """From now on the processes of these models read each other's regions, and those of
        everybody whom one of them reads; returns when those that run have confirmed.
        """
        async with self._acquainting:
            await self._acquaint(models)

    async def _acquaint(self, models: frozenset[str]) -> None:
        together = set(models)
        for others in [one for one in self._joined if one & models]:
            together |= others
            self._joined.remove(others)
        self._joined.append(together)
        members = [one for one in self._members[Side.INSTANCE] if one.model in together]
        waits = [
            wait
            for one in members
            for other in members  # itself too: it may be two steps
            for wait in self._tell(one, other)
        ]
        await asyncio.gather(*waits)

    def _meet(self, one: _Member, other: _Member) -> bool:
        return any(one.model in models and other.model in models for models in self._joined)

    def _tell(self, member: _Member, other: _Member) -> list[Coroutine[Any, Any, None]]:
        """Tells the member of the other's regions, as far as it does not know them."""
        new = [peer for peer in other.regions if peer not in member.known]
        member.known.update(new)
        return [self._introduce(member.reader, peer, other.regions[peer]) for peer in new]

    def leave(self, side: Side, reader: RegionReader) -> None:
        """The process is gone: the other side forgets its regions, a little later."""
        for member in self._members[side]:
            if member.reader is not reader:
                continue
            self._members[side].remove(member)
            self._loop.call_later(FORGET_AFTER_S, self._forget, list(member.regions))
            for fd in member.regions.values():
                os.close(fd)
            return

    def close(self) -> None:
        for members in self._members.values():
            for member in members:
                for fd in member.regions.values():
                    os.close(fd)
            members.clear()

    def _forget(self, peers: list[int]) -> None:
        for member in (*self._members[Side.FRONTEND], *self._members[Side.INSTANCE]):
            for peer in member.known.intersection(peers):
                member.known.discard(peer)
                member.reader.retire_region(peer)

    async def _introduce(self, reader: RegionReader, peer: int, fd: int) -> None:
        try:
            async with asyncio.timeout(CONFIRM_WITHIN_S):
                await reader.introduce_region(peer, fd)
        except TimeoutError:
            log.warning("%s did not confirm the region of peer %d in time", reader, peer)
