"""From the settings to bound sockets: which protocols are served, where, and by which frontend."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pyserver.settings import Settings
from pyserver.supervisor.listen import ListenError, bind_workers, close_all, shown
from pyserver.supervisor.unix_socket import bind_unix, is_unix


@dataclass(frozen=True, slots=True)
class Listening:
    """`sockets[i]` are frontend i's, by protocol ("http", "grpc"); so are `addresses`, as clients
    write them. In `settings` port 0 has become a real one.
    """

    settings: Settings
    sockets: list[dict[str, list[socket.socket]]]
    addresses: Mapping[str, str]

    def close(self) -> None:
        """Closes every socket; connections that wait in them are reset."""
        _close(self.sockets)


def listen_as_set(settings: Settings) -> Listening:
    """Binds every address that the settings allow. Raises ListenError, and then holds none."""
    workers = settings.frontend_workers
    sockets: list[dict[str, list[socket.socket]]] = [{} for _ in range(workers)]
    addresses: dict[str, str] = {}
    try:
        for protocol in ("http", "grpc"):
            if not getattr(settings, f"allow_{protocol}"):
                continue
            address: str = getattr(settings, f"{protocol}_address")
            if is_unix(address):
                shared = bind_unix(address)
                bound: list[list[socket.socket]] = [[shared] for _ in range(workers)]
                addresses[protocol] = shared.address
            else:
                bound = bind_workers(
                    address,
                    getattr(settings, f"{protocol}_port"),
                    workers=workers,
                    share_port=getattr(settings, f"reuse_{protocol}_port"),
                )
                port = bound[0][0].getsockname()[1]
                settings = replace(settings, **{f"{protocol}_port": port})
                addresses[protocol] = shown(address, port)
            for own, more in zip(sockets, bound, strict=True):
                own[protocol] = more
    except ListenError:
        _close(sockets)
        raise
    return Listening(settings, sockets, addresses)


def _close(sockets: list[dict[str, list[socket.socket]]]) -> None:
    for own in sockets:
        close_all(list(own.values()))
