"""The listening sockets of a port: bound once by the supervisor, one set for each frontend worker.

All sockets of one address share the port by SO_REUSEPORT, so the kernel spreads connections over
the workers. The supervisor keeps them open: when a worker is killed, connections that wait in its
socket are served by its successor. They are bound here and listen only once models are loaded, so
that clients are refused until then, as they are by Triton.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from typing import Any

BACKLOG = 4096


class ListenError(Exception):
    """An address cannot be listened at; the text names it and the cause."""


def bind_workers(
    address: str, port: int, *, workers: int, share_port: bool
) -> list[list[socket.socket]]:
    """One list of bound sockets for each worker: as many as the address has meanings.

    Port 0 takes a free port, the same for all. Unless `share_port`, a port that another server
    uses is refused even if that server would share it. Raises ListenError.
    """
    made: list[list[socket.socket]] = [[] for _ in range(workers)]
    failed: OSError | None = None
    try:
        for family, at in _resolve(address, port):
            try:
                if not share_port and port != 0:
                    _probe(family, (at[0], port, *at[2:]))
                for sockets in made:
                    bound = _bind(family, (at[0], port, *at[2:]))
                    sockets.append(bound)
                    port = bound.getsockname()[1]
            except OSError as error:
                # A name may stand for an address that is not here (::1 in a container).
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                failed = error
        if not made[0] and failed is not None:
            raise failed
    except OSError as error:
        close_all(made)
        reason = error.strerror or str(error)
        raise ListenError(f"cannot listen at {shown(address, port)}: {reason}") from error
    return made


def close_all(workers: list[list[socket.socket]]) -> None:
    """Closes every socket; connections that wait in them are reset."""
    for sockets in workers:
        for one in sockets:
            one.close()


def shown(address: str, port: int) -> str:
    """`address:port`, with brackets around an IPv6 address."""
    bare = address.removeprefix("[").removesuffix("]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


# What getaddrinfo gives and bind takes: (host, port) or (host, port, flow, scope).
Address = tuple[Any, ...]


def _resolve(address: str, port: int) -> list[tuple[socket.AddressFamily, Address]]:
    host = address.removeprefix("[").removesuffix("]") or "0.0.0.0"
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # One name may have the same address more than once.
    return list({(family, at): None for family, _, _, _, at in found})


def _probe(family: socket.AddressFamily, at: Address) -> None:
    """Raises OSError when somebody holds the port. Without SO_REUSEPORT nobody's port is shared."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Only connections of a server that has gone (TIME_WAIT) may be left.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _both_families(probe)
        probe.bind(at)


def _bind(family: socket.AddressFamily, at: Address) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.setblocking(False)
        _both_families(made)
        try:
            made.bind(at)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            # Left-over connections of a server that did not share its port. SO_REUSEADDR is kept
            # for this case: two bound sockets that both have it would not see each other.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(at)
    except OSError:
        made.close()
        raise
    return made


def _both_families(made: socket.socket) -> None:
    """`::` also takes IPv4 clients, whatever the system's default is."""
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


def take_connections(sockets: Iterable[socket.socket]) -> None:
    """Lets clients in."""
    for one in sockets:
        one.listen(BACKLOG)
        # Connections inherit it: what is left of them (TIME_WAIT) does not keep the next server
        # from the port. Not before listen(): it would let two servers bind the same port.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def refuse_connections(sockets: Iterable[socket.socket]) -> None:
    """Closes the sockets; a child's copy does not take connections any more either."""
    for one in sockets:
        if one.fileno() < 0:
            continue
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was not listening yet
        one.close()
