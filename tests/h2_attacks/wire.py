"""An HTTP/2 connection driven by hand: it writes whatever it is told to, and notes what comes back.

It has no state machine that could stop an attack. Frames are hyperframe's, or raw bytes where no
library would make them; header blocks are hpack's.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import hpack
from hyperframe import frame as frames

from tests.h2_attacks.calls import INFER, Head, head, infer_request, is_right_answer, message

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_KEPT_BYTES = 1 << 20  # of one answer
_READ_BYTES = 1 << 18


@dataclass(slots=True)
class Seen:
    """All that the server has said so far."""

    goaways: list[int] = field(default_factory=list)  # their error codes
    resets: dict[int, int] = field(default_factory=dict)  # error codes, by stream
    heads: dict[int, dict[str, str]] = field(default_factory=dict)  # with the trailers
    data: dict[int, bytes] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)  # streams that the server has ended
    settings: dict[int, int] = field(default_factory=dict)
    acks: int = 0  # of settings and of pings
    closed: bool = False
    plain: bytes = b""  # what came instead of HTTP/2

    def grpc_status(self, stream: int) -> int | None:
        text = self.heads.get(stream, {}).get("grpc-status")
        return None if text is None else int(text)

    def over(self, stream: int) -> bool:
        """Whether the stream, or the connection, has its end."""
        return self.closed or stream in self.ended or stream in self.resets


def raw_frame(
    kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0, length: int | None = None
) -> bytes:
    """A frame of any type; `length` is what its head says instead of the truth."""
    size = len(payload) if length is None else length
    return struct.pack(">BHBBL", size >> 16, size & 0xFFFF, kind, flags, stream) + payload


class Wire:
    """One connection to a port of 127.0.0.1; not for several threads."""

    def __init__(self, port: int) -> None:
        self.seen = Seen()
        self.encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._inbox = bytearray()
        self._block = b""  # of a head that goes on in CONTINUATION frames
        self._last_stream = -1
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def close(self) -> None:
        self._socket.close()
        self.seen.closed = True

    # --- writing ---

    def send(self, data: bytes, *, reading: bool = True, timeout_s: float = 10.0) -> bool:
        """Whether all was taken before the connection's end. Reads meanwhile, unless told not to,
        so that neither side waits for the other for ever.
        """
        left = memoryview(data)
        end_s = time.monotonic() + timeout_s
        while left and not self.seen.closed:
            wait_s = end_s - time.monotonic()
            if wait_s <= 0:
                return False
            readers = [self._socket] if reading else []
            readable, writable, _ = select.select(readers, [self._socket], [], wait_s)
            if readable:
                self._read()
            if writable and not self.seen.closed:
                try:
                    left = left[self._socket.send(left[:_READ_BYTES]) :]
                except BlockingIOError:
                    pass
                except OSError:
                    # Closed by the server; what it said before that can still be read.
                    self.receive(lambda: False, timeout_s=1.0)
                    self.seen.closed = True
        return not left

    def frame(self, *made: frames.Frame) -> bool:
        return self.send(b"".join(one.serialize() for one in made))

    def greet(self, settings: dict[int, int] | None = None) -> Self:
        """The usual beginning: preface, settings, and theirs acknowledged."""
        self.send(PREFACE + frames.SettingsFrame(0, settings or {}).serialize())
        self.receive(lambda: bool(self.seen.settings), timeout_s=5.0)
        self.frame(frames.SettingsFrame(0, flags=["ACK"]))
        return self

    def take_stream(self) -> int:
        """The number of the next stream, for whoever opens it."""
        self._last_stream += 2
        return self._last_stream

    def block(self, fields: Head) -> bytes:
        return self.encoder.encode(fields, huffman=False)

    def head_frame(self, stream: int, fields: Head, *flags: str) -> frames.HeadersFrame:
        block = self.block(fields)
        return frames.HeadersFrame(stream, block, flags=["END_HEADERS", *flags])

    def open(self, path: str = INFER, *, fields: Head = (), end: bool = False) -> int:
        """Begins a call on a new stream; its number."""
        stream = self.take_stream()
        self.frame(self.head_frame(stream, head(path, fields), *(["END_STREAM"] if end else [])))
        return stream

    def data(self, stream: int, content: bytes, *, end: bool = False) -> bool:
        """As DATA frames of the usual size."""
        return self.send(data_frames(stream, content, end=end))

    # --- reading ---

    def receive(self, enough: Callable[[], bool], *, timeout_s: float) -> bool:
        """Reads until `enough()`, the connection's end, or the time is over; says which it was."""
        end_s = time.monotonic() + timeout_s
        while not enough():
            wait_s = end_s - time.monotonic()
            if self.seen.closed or wait_s <= 0:
                return False
            readable, _, _ = select.select([self._socket], [], [], wait_s)
            if readable:
                self._read()
        return True

    def wait_over(self, stream: int, timeout_s: float = 5.0) -> bool:
        return self.receive(lambda: self.seen.over(stream), timeout_s=timeout_s)

    def wait_dead(self, timeout_s: float) -> None:
        """Returns when the connection has broken, without reading from it."""
        poll = select.poll()
        poll.register(self._socket, select.POLLHUP | select.POLLERR | select.POLLRDHUP)
        poll.poll(timeout_s * 1000)

    def call_works(self, timeout_s: float = 5.0) -> bool:
        """Whether an ordinary call on this very connection is answered as it should be."""
        values = (1.5, -2.0, 3.25, *([0.0] * 13))
        stream = self.open()
        self.data(stream, message(infer_request(values)), end=True)
        self.receive(lambda: self.seen.over(stream), timeout_s=timeout_s)
        return self.seen.grpc_status(stream) == 0 and is_right_answer(
            self.seen.data.get(stream, b""), values
        )

    def _read(self) -> None:
        try:
            got = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            got = b""
        if not got:
            self.seen.closed = True
            return
        self._inbox += got
        if self.seen.plain or (not self.seen.settings and self._inbox.startswith(b"HTTP/")):
            self.seen.plain += bytes(self._inbox)
            self._inbox.clear()
            return
        at = 0
        while len(self._inbox) - at >= 9:
            view = memoryview(bytes(self._inbox[at : at + 9]))
            made, size = frames.Frame.parse_frame_header(view)
            if len(self._inbox) - at < 9 + size:
                break
            made.parse_body(memoryview(bytes(self._inbox[at + 9 : at + 9 + size])))
            at += 9 + size
            self._note(made)
        del self._inbox[:at]

    def _note(self, made: frames.Frame) -> None:
        seen = self.seen
        match made:
            case frames.SettingsFrame() | frames.PingFrame() if "ACK" in made.flags:
                seen.acks += 1
            case frames.SettingsFrame():
                seen.settings |= made.settings or {0: 0}
            case frames.GoAwayFrame():
                seen.goaways.append(made.error_code)
            case frames.RstStreamFrame():
                seen.resets.setdefault(made.stream_id, made.error_code)
            case frames.DataFrame():
                kept = seen.data.get(made.stream_id, b"")
                if len(kept) < _KEPT_BYTES:
                    seen.data[made.stream_id] = kept + made.data
            case frames.HeadersFrame() | frames.ContinuationFrame():
                self._block += made.data
                if "END_HEADERS" in made.flags:
                    fields = self._decoder.decode(self._block)
                    self._block = b""
                    seen.heads.setdefault(made.stream_id, {}).update(fields)
        if "END_STREAM" in made.flags:
            seen.ended.add(made.stream_id)


def data_frames(stream: int, content: bytes, *, end: bool = False, size: int = 16384) -> bytes:
    """`content` as DATA frames of at most `size` bytes; at least one."""
    pieces = [content[at : at + size] for at in range(0, len(content), size)] or [b""]
    flag = 1 if end else 0
    return b"".join(
        raw_frame(0, piece, flags=flag if index == len(pieces) - 1 else 0, stream=stream)
        for index, piece in enumerate(pieces)
    )
