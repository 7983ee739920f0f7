"""What stays of a frontend worker while its processes come and go."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyserver.supervisor.backoff import Backoff
from pyserver.supervisor.child import Child


@dataclass(slots=True)
class Frontend:
    """One frontend worker's place: its sockets stay, its processes come and go."""

    index: int
    sockets_of: Mapping[str, Sequence[socket.socket]]  # by protocol
    backoff: Backoff = field(default_factory=Backoff)
    child: Child | None = None
    listening: bool = False
    drained: bool = False

    @property
    def sockets(self) -> list[socket.socket]:
        """All of them, those of a protocol together."""
        return [one for own in self.sockets_of.values() for one in own]

    @property
    def protocols(self) -> list[str]:
        """What each of `sockets` is for."""
        return [protocol for protocol, own in self.sockets_of.items() for _ in own]
