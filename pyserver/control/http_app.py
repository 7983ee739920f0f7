"""The control plane's HTTP server: stock aiohttp, on connections that frontends hand over.

aiohttp takes a fifth of a second to import, so this file is imported while models load.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from pyserver.control.http_call import HttpAnswer, HttpCall, error_answer
from pyserver.control.routes import Dispatcher

log = logging.getLogger(__name__)

# Frontends keep connections for reuse, and close them when they want to.
_KEEPALIVE_S: Final = 24 * 3600.0
_OPTIONS: Final[dict[str, Any]] = {
    "keepalive_timeout": _KEEPALIVE_S,
    "access_log": None,
    # The limits are the frontend's; it has applied them already.
    "max_line_size": 1 << 20,
    "max_field_size": 1 << 20,
}
# Base64 files of a load request; the client's own limit is enforced by the frontend.
_MAX_BODY_BYTES: Final = 1 << 32


class _JsonErrors(RequestHandler):
    """aiohttp's own refusals (malformed requests) as JSON."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        log.warning("a proxied request was refused with %d: %s", status, message or exc)
        return _response(error_answer(status, message or "internal error"))


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _JsonErrors(self, loop=self._loop, **_OPTIONS)


class HttpApp:
    """Serves the routes on connected sockets."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._loop = asyncio.get_running_loop()
        self._server = _Server(self._handle, request_factory=self._request)

    async def serve(self, connection: socket.socket) -> None:
        """Takes the connection over; returns when it is being served."""
        await self._loop.connect_accepted_socket(self._server, sock=connection)

    async def close(self) -> None:
        await self._server.shutdown(timeout=1.0)

    def _request(
        self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=_MAX_BODY_BYTES
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call = HttpCall(
            method=request.method,
            path=_path(request.raw_path),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.read(),
        )
        return _response(await self._dispatcher.answer(call))


def _path(target: str) -> str:
    """Without the query, and without scheme and host where the client wrote the absolute form."""
    if not target.startswith("/") and "://" in target:
        target = "/" + target.partition("://")[2].partition("/")[2]
    return target.partition("?")[0]


def _response(answer: HttpAnswer) -> web.Response:
    return web.Response(
        status=answer.status,
        body=answer.body,
        headers={"Content-Type": answer.content_type, "Server": "pyserver"},
    )
