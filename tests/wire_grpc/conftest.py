"""Each server of the table has one connection that all rows share: a refused call must not spoil
it for the next.
"""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from tests.wire.servers import WireServers
from tests.wire_grpc.exchange import open_channel
from tests.wire_grpc.table import SERVERS, SHARED


class Channels:
    """Connects to a server, which starts it, when a row first asks for it."""

    def __init__(self, servers: WireServers) -> None:
        self._servers = servers
        self._open: dict[str, grpc.Channel] = {}

    def to(self, server: str) -> grpc.Channel:
        if server not in self._open:
            name = server if server in SHARED else f"{server} of gRPC"
            self._open[server] = open_channel(self._servers.ports(name, SERVERS[server]).grpc)
        return self._open[server]

    def close(self) -> None:
        for channel in self._open.values():
            channel.close()


@pytest.fixture(scope="session")
def channels(wire_servers: WireServers) -> Iterator[Channels]:
    made = Channels(wire_servers)
    yield made
    made.close()
