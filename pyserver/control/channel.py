"""Control sockets: JSON messages with file descriptors between the server's own processes.

A control socket is one end of a SOCK_SEQPACKET Unix socket pair. One packet is one message: a
JSON object with an "op" member, and up to 16 file descriptors by SCM_RIGHTS. A message whose JSON
is longer than `MAX_PACKET_BYTES` travels in a memfd that is attached as the *last* descriptor; the
packet then says {"op": <the same>, "in_memfd": true}. The receiver sees no difference.

Messages are rare (start, load, retire), so this is plain Python. Nothing heavier than the standard
library is imported: the supervisor and the frontends use this file.
"""

from __future__ import annotations

import array
import errno
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

MAX_PACKET_BYTES = 60 * 1024
MAX_FDS = 16
_INT_BYTES = array.array("i").itemsize

Message = dict[str, Any]


class ControlClosed(Exception):
    """The other side closed its end, or died."""


class ControlSocket:
    """One end of a control connection.

    Blocking unless used through `AsyncControlSocket`. Not thread-safe for concurrent senders; one
    sender and one receiver thread at a time are fine.
    """

    __slots__ = ("_socket",)

    def __init__(self, fd: int) -> None:
        """Takes ownership of `fd`."""
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def detach(self) -> int:
        """Gives the descriptor up to the caller; this object is closed afterwards."""
        return self._socket.detach()

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Sends one message. The caller keeps (and closes) its own copies of `fds`.

        Raises ControlClosed when the other side is gone; on a non-blocking socket BlockingIOError.
        """
        data = _encode(message)
        if len(data) <= MAX_PACKET_BYTES:
            self._send_packet(data, fds)
            return
        memfd = _memfd_with(data)
        try:
            self._send_packet(_encode({"op": message.get("op"), "in_memfd": True}), [*fds, memfd])
        finally:
            os.close(memfd)

    def receive(self) -> tuple[Message, list[int]]:
        """Waits for one message: (message, descriptors). The caller owns the descriptors.

        Raises ControlClosed at the end, ValueError on a packet that is no message (its descriptors
        are closed); on a non-blocking socket BlockingIOError.
        """
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(
                MAX_PACKET_BYTES + 1,
                socket.CMSG_SPACE(MAX_FDS * _INT_BYTES),
                socket.MSG_CMSG_CLOEXEC,
            )
        except OSError as error:
            if error.errno in (errno.ECONNRESET, errno.EPIPE, errno.EBADF):
                raise ControlClosed from error
            raise
        fds = _descriptors(ancillary)
        if not data:
            _close_all(fds)
            raise ControlClosed
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ValueError("a control message was cut short")
            message = _decode(data)
            if message.get("in_memfd") is True:
                if not fds:
                    raise ValueError("a control message in a memfd came without it")
                memfd = fds.pop()
                try:
                    message = _decode(_whole(memfd))
                finally:
                    os.close(memfd)
        except ValueError:
            _close_all(fds)
            raise
        return message, fds

    def setblocking(self, blocking: bool) -> None:
        self._socket.setblocking(blocking)

    def _send_packet(self, data: bytes, fds: Sequence[int]) -> None:
        ancillary = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []
        )
        try:
            self._socket.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno in (
                errno.EPIPE,
                errno.ECONNRESET,
                errno.ECONNREFUSED,
                errno.ENOTCONN,
                errno.EBADF,
            ):
                raise ControlClosed from error
            raise


class AsyncControlSocket:
    """A control socket on an asyncio loop: messages come to a callback, sending never blocks.

    What the kernel does not take at once waits here, in order, with its descriptors duplicated.
    `on_message(message, fds)` owns the descriptors. `on_closed()` comes once, after the last
    message; never after `close()`.
    """

    def __init__(
        self,
        fd: int,
        loop: asyncio.AbstractEventLoop,
        *,
        on_message: Callable[[Message, list[int]], None],
        on_closed: Callable[[], None],
    ) -> None:
        self._control = ControlSocket(fd)
        self._control.setblocking(False)
        self._loop = loop
        self._on_message = on_message
        self._on_closed = on_closed
        self._waiting: deque[tuple[Message, list[int]]] = deque()
        loop.add_reader(fd, self._readable)

    @property
    def closed(self) -> bool:
        return self._control.closed

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Sends now or queues. To a closed peer it is silently dropped: on_closed tells of it."""
        if self._control.closed:
            return
        if not self._waiting:
            try:
                self._control.send(message, fds)
                return
            except BlockingIOError:
                pass
            except ControlClosed:
                return  # the reader sees the end as well
        if not self._waiting:
            self._loop.add_writer(self._control.fileno(), self._writable)
        self._waiting.append((message, [os.dup(fd) for fd in fds]))

    def drain(self) -> None:
        """Hands out what has arrived already: the last words of a peer that is known to be gone."""
        while not self._control.closed:
            try:
                message, fds = self._control.receive()
            except (BlockingIOError, ControlClosed):
                return
            except ValueError:
                continue
            self._on_message(message, fds)

    def close(self) -> None:
        if self._control.closed:
            return
        self._loop.remove_reader(self._control.fileno())
        self._loop.remove_writer(self._control.fileno())
        self._control.close()
        for _, fds in self._waiting:
            _close_all(fds)
        self._waiting.clear()

    def _readable(self) -> None:
        # A bounded number of messages per turn, so that one chatty peer cannot hold the loop.
        for _ in range(64):
            if self._control.closed:
                return
            try:
                message, fds = self._control.receive()
            except BlockingIOError:
                return
            except ControlClosed:
                self.close()
                self._on_closed()
                return
            except ValueError:
                continue  # not a message; its descriptors are closed already
            self._on_message(message, fds)

    def _writable(self) -> None:
        while self._waiting:
            message, fds = self._waiting[0]
            try:
                self._control.send(message, fds)
            except BlockingIOError:
                return
            except ControlClosed:
                break
            self._waiting.popleft()
            _close_all(fds)
        if not self._control.closed:
            self._loop.remove_writer(self._control.fileno())
        for _, fds in self._waiting:
            _close_all(fds)
        self._waiting.clear()


def pair() -> tuple[ControlSocket, ControlSocket]:
    """Two connected control sockets, both close-on-exec."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return ControlSocket(one.detach()), ControlSocket(other.detach())


def _encode(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode("utf-8")


def _decode(data: bytes) -> Message:
    message = json.loads(data)
    if not isinstance(message, dict) or not isinstance(message.get("op"), str):
        raise ValueError("a control message is a JSON object with a text member 'op'")
    return message


def _memfd_with(data: bytes) -> int:
    memfd = os.memfd_create("pyserver-message", os.MFD_CLOEXEC)
    with open(memfd, "wb", closefd=False) as file:
        file.write(data)
    return memfd


def _whole(memfd: int) -> bytes:
    """Everything in the memfd, read by position: the sender's file offset is shared with us."""
    size = os.fstat(memfd).st_size
    parts = []
    done = 0
    while done < size:
        part = os.pread(memfd, size - done, done)
        if not part:
            break
        parts.append(part)
        done += len(part)
    return b"".join(parts)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % _INT_BYTES])
    return list(fds)


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
