"""The HTTP application on a socket pair: what a frontend's proxy connection sees."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from pyserver.control.http_app import HttpApp
from tests.control.routes_bench import Bench


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, data: bytes) -> tuple[bytes, dict[str, str], bytes]:
        """Status line, headers, body."""
        self._writer.write(data)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return head[0].encode(), headers, body

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    app = HttpApp(Bench().dispatcher)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    await app.serve(theirs)
    made = Connection(*await asyncio.open_connection(sock=ours))
    yield made
    await made.close()
    await app.close()


async def test_a_connection_serves_one_request_after_another(connection: Connection) -> None:
    for _ in range(3):
        status, headers, body = await connection.ask(
            b"GET /v2/health/live?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert (status, headers["content-length"], body) == (b"HTTP/1.1 200 OK", "0", b"")
        assert headers["content-type"] == "text/plain"
    status, headers, body = await connection.ask(
        b'POST /v2/repository/index HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n\r\n{"ready":true}'
    )
    assert headers["content-type"] == "application/json"
    assert body.startswith(b'[{"name":"m"')


async def test_paths_stay_as_they_were_written(connection: Connection) -> None:
    for path in (b"/v2/models/a%2Fb", b"/v2/models/%6d", b"/v2/models/..%2f"):
        _, _, body = await connection.ask(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        name = path.rpartition(b"/")[2]
        assert body == b'{"error":"Request for unknown model: \'' + name + b"' is not found\"}"


async def test_the_absolute_form_of_a_target_is_understood(connection: Connection) -> None:
    status, _, _ = await connection.ask(
        b"GET http://host:1/v2/health/live?a=b HTTP/1.1\r\nHost: host:1\r\n\r\n"
    )
    assert status == b"HTTP/1.1 200 OK"


async def test_a_malformed_request_is_refused_in_json(connection: Connection) -> None:
    status, headers, body = await connection.ask(b"GET /v2 HTTP/1.1\r\nbad header\r\n\r\n")
    assert status.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert headers["content-type"] == "application/json"
    assert body.startswith(b'{"error":')


async def test_a_large_body_is_taken(connection: Connection) -> None:
    body = b'{"ready":false,"pad":"' + b"x" * 3_000_000 + b'"}'
    status, _, _ = await connection.ask(
        b"POST /v2/repository/index HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    assert status == b"HTTP/1.1 200 OK"
