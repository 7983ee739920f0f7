"""Send the exact bytes of a request over a bare socket and read the answers: no client library in
between.
"""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass

from tests.wire.requests import WireRequest


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. Status 0: the server closed without one; status -1: it said nothing in time.

    Header names are in small letters; `interim` is how many 1xx answers came first.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    interim: int = 0

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


CLOSED, SILENT = 0, -1


class _Reader:
    """Takes answers off a socket; keeps what was read beyond the one asked for."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def _more(self) -> bool:
        received = self._connection.recv(65536)
        self._buffer += received
        return bool(received)

    def _line(self) -> bytes | None:
        while b"\n" not in self._buffer:
            if not self._more():
                return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count and self._more():
            pass
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _chunked(self) -> bytes:
        body = b""
        while (size := int((self._line() or b"0").split(b";")[0] or b"0", 16)) > 0:
            body += self._exactly(size)
            self._line()
        while self._line():
            pass
        return body

    def answer(self, method: str) -> Answer:
        """The next answer; raises TimeoutError when the socket's own timeout passes."""
        interim = 0
        while True:
            line = self._line()
            if line is None:
                return Answer(status=CLOSED, interim=interim)
            status = int(line.split(b" ")[1])
            headers = []
            while header := self._line():
                name, _, value = header.decode("latin-1").partition(":")
                headers.append((name.strip().lower(), value.strip()))
            if status >= 200 or status == 101:
                break
            interim += 1
        body = self._body(method, dict(headers))
        return Answer(status=status, headers=tuple(headers), body=body, interim=interim)

    def _body(self, method: str, headers: dict[str, str]) -> bytes:
        if method == "HEAD":
            return b""
        if "chunked" in headers.get("transfer-encoding", ""):
            return self._chunked()
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]))
        while self._more():
            pass
        taken, self._buffer = self._buffer, b""
        return taken


def _send(connection: socket.socket, data: bytes, split: int) -> None:
    if not split:
        connection.sendall(data)
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for start in range(0, len(data), split):
        connection.sendall(data[start : start + split])
        # Long enough for the server to read this piece alone; what it must survive is the cut.
        time.sleep(0.0005)


def exchange(port: int, request: WireRequest, *, timeout_s: float = 10.0) -> tuple[Answer, ...]:
    """Send one row of the table on a connection of its own and read its answers."""
    answers: list[Answer] = []
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        reader = _Reader(connection)
        # A server may refuse and close while we are still sending: its answer is read all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            _send(connection, request.to_bytes(), request.split)
            if request.ends:
                connection.shutdown(socket.SHUT_WR)
        for _ in range(request.answers):
            try:
                answers.append(reader.answer(request.method))
            except TimeoutError:
                answers.append(Answer(status=SILENT))
            except (ConnectionResetError, BrokenPipeError):
                answers.append(Answer(status=CLOSED))
            if answers[-1].status in (CLOSED, SILENT):
                break
    return tuple(answers)
