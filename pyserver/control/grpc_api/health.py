"""grpc.health.v1: the server is healthy when it is ready, whatever service is asked for.

Source: gRPC's health checking protocol; Triton's front end for the status of Check.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pyserver.control.grpc_stubs import health_pb2 as pb
from pyserver.control.operations import Operations
from pyserver.errors import ServerError


class Health:
    """Belongs to the control plane's event loop."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._noticed = asyncio.Event()
        self._closed = False

    def notice(self) -> None:
        """Readiness may have changed: watchers are told if it has."""
        self._noticed.set()
        self._noticed = asyncio.Event()

    def close(self) -> None:
        """Ends all watches, after a last change."""
        self._closed = True
        self.notice()

    async def check(self, request: pb.HealthCheckRequest) -> pb.HealthCheckResponse:
        return _response(self._operations.server_ready())

    async def watch(self, request: pb.HealthCheckRequest) -> AsyncIterator[pb.HealthCheckResponse]:
        told: bool | None = None
        while True:
            noticed = self._noticed
            ready = self._is_ready()
            if ready is not told:
                told = ready
                yield _response(ready)
            if self._closed:
                return
            await noticed.wait()

    def _is_ready(self) -> bool:
        try:
            return self._operations.server_ready()
        except ServerError:
            return False  # on its way out


def _response(ready: bool) -> pb.HealthCheckResponse:
    kind = pb.HealthCheckResponse
    return kind(status=kind.SERVING if ready else kind.NOT_SERVING)
