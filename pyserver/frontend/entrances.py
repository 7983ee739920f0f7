"""What is spoken at each listener, and whose restrictions hold there.

A port takes both protocols where that weakens nothing: a protocol whose own port asks for TLS, or
for clients' certificates, is not to be had at a port that asks for less; and what comes in at a
port obeys the restrictions of that port's protocol as well as its own.
"""

from __future__ import annotations

from typing import TypedDict

from pyserver._core import TlsContext
from pyserver.settings import Settings


class Entrance(TypedDict):
    """The arguments of `Gateway.add_listener` beside the socket."""

    http1: bool
    http2: bool
    http_rules: bool
    grpc_rules: bool
    tls: TlsContext | None


def entrance(settings: Settings, protocol: str) -> Entrance:
    """For the listeners of "http" or "grpc"."""
    http1, http2 = (
        getattr(settings, f"allow_{other}") and _asks(settings, protocol) >= _asks(settings, other)
        for other in ("http", "grpc")
    )
    files = settings.tls(protocol)
    tls = None
    if files is not None:
        tls = TlsContext(
            files.certificate,
            files.key,
            root_path=files.root,
            verify_client=bool(files.root),
            http1=http1,
            http2=http2,
        )
    return {
        "http1": http1,
        "http2": http2,
        "http_rules": protocol == "http",
        "grpc_rules": protocol == "grpc",
        "tls": tls,
    }


def _asks(settings: Settings, protocol: str) -> int:
    """Of its clients: nothing, TLS, or certificates with it. A protocol without a port of its own
    asks nothing.
    """
    files = settings.tls(protocol)
    if files is None or not getattr(settings, f"allow_{protocol}"):
        return 0
    return 2 if files.root else 1
