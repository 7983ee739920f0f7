"""Who may read whose region: each side is told of the other's regions before it can meet them.

Frontends read the regions of instances (their answers) and of core (its errors); instance processes
read those of frontends (requests) and of core. `join` returns when everybody has confirmed, so that
no record can name a region that its reader does not know.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Mapping
from enum import Enum
from typing import Final, Protocol

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
    def __init__(self, reader: RegionReader, regions: dict[int, int]) -> None:
        self.reader = reader
        self.regions = regions


class PeerDirectory:
    """All processes that take part in inference, with the descriptors of their regions."""

    def __init__(self, core_region_fd: int, loop: asyncio.AbstractEventLoop) -> None:
        """`core_region_fd` stays the caller's."""
        self._core_region_fd = core_region_fd
        self._loop = loop
        self._members: dict[Side, list[_Member]] = {Side.FRONTEND: [], Side.INSTANCE: []}

    async def join(self, side: Side, reader: RegionReader, regions: Mapping[int, int]) -> None:
        """Takes a process in; `regions` are its peers' region descriptors, which become ours."""
        member = _Member(reader, dict(regions))
        others = list(self._members[side.other])
        # Listed before the first wait: whoever joins meanwhile meets this member too.
        self._members[side].append(member)
        waits = [self._introduce(reader, CORE_PEER, self._core_region_fd)]
        for other in others:
            for peer, fd in member.regions.items():
                waits.append(self._introduce(other.reader, peer, fd))
            for peer, fd in other.regions.items():
                waits.append(self._introduce(reader, peer, fd))
        await asyncio.gather(*waits)

    def leave(self, side: Side, reader: RegionReader) -> None:
        """The process is gone: the other side forgets its regions, a little later."""
        for member in self._members[side]:
            if member.reader is not reader:
                continue
            self._members[side].remove(member)
            self._loop.call_later(FORGET_AFTER_S, self._forget, side.other, list(member.regions))
            for fd in member.regions.values():
                os.close(fd)
            return

    def close(self) -> None:
        for members in self._members.values():
            for member in members:
                for fd in member.regions.values():
                    os.close(fd)
            members.clear()

    def _forget(self, side: Side, peers: list[int]) -> None:
        for member in self._members[side]:
            for peer in peers:
                member.reader.retire_region(peer)

    async def _introduce(self, reader: RegionReader, peer: int, fd: int) -> None:
        try:
            async with asyncio.timeout(CONFIRM_WITHIN_S):
                await reader.introduce_region(peer, fd)
        except TimeoutError:
            log.warning("%s did not confirm the region of peer %d in time", reader, peer)
