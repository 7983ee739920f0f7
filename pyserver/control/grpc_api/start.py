"""The way in: starts the gRPC half of the control plane without making anyone wait for grpcio."""

from __future__ import annotations

import asyncio
import importlib
import os
from types import ModuleType
from typing import TYPE_CHECKING

from pyserver.control.services import Services

if TYPE_CHECKING:
    from pyserver.control.grpc_api.server import GrpcServer


async def serve_grpc(services: Services) -> GrpcServer:
    """Serves every method but the two of inference; returns when connections are taken.

    To be called on the control plane's event loop, once. The caller
    - sends `GrpcServer.link_fd` to the frontends, which connect to it (see link.py);
    - calls `GrpcServer.notice_health()` whenever readiness may have changed;
    - awaits `GrpcServer.close()` at the end.
    """
    server = await asyncio.to_thread(_import_server)
    made: GrpcServer = await server.GrpcServer.start(services)
    return made


def _import_server() -> ModuleType:
    # Otherwise it writes a line of its own for each connection that ends in an unusual way.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    return importlib.import_module("pyserver.control.grpc_api.server")
