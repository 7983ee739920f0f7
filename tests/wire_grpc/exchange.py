"""Make a call of exactly the given bytes and keep the bytes of its answers: grpcio carries them,
and looks at none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import grpc

from tests.wire_grpc.requests import GrpcRequest

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    # A connection of its own for each channel.
    ("grpc.use_local_subchannel_pool", 1),
)
_COMPRESSIONS = {
    "": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


@dataclass(frozen=True, slots=True)
class GrpcAnswer:
    """How a call ended, by the name of its status code, and the messages that came before."""

    code: str
    details: str = ""
    messages: tuple[bytes, ...] = ()


def open_channel(port: int) -> grpc.Channel:
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS)


def exchange(channel: grpc.Channel, request: GrpcRequest, *, timeout_s: float = 10.0) -> GrpcAnswer:
    """Send one row of the table. A server that says nothing in time is DEADLINE_EXCEEDED."""
    compression = _COMPRESSIONS[request.compression]
    if request.streamed:
        feed = _Feed(request)
        call = channel.stream_stream(request.path)(
            iter(feed), timeout=timeout_s, metadata=request.metadata, compression=compression
        )
        return _read(call, feed)
    (message,) = request.messages
    try:
        answer = channel.unary_unary(request.path)(
            message, timeout=timeout_s, metadata=request.metadata, compression=compression
        )
    except grpc.RpcError as error:
        return GrpcAnswer(error.code().name, error.details() or "")
    return GrpcAnswer("OK", messages=(answer,))


class _Feed:
    """The messages of a stream, one by one, in lockstep with the answers where that is wanted."""

    def __init__(self, request: GrpcRequest) -> None:
        self._messages = request.messages
        self._allowed = threading.Semaphore(1 if request.lockstep else len(request.messages))
        self._over = False

    def __iter__(self) -> Iterator[bytes]:
        for message in self._messages:
            self._allowed.acquire()
            if self._over:
                return
            yield message

    def answered(self) -> None:
        self._allowed.release()

    def end(self) -> None:
        """No further message; grpcio's thread that waits for one is set free."""
        self._over = True
        self._allowed.release()


def _read(call: grpc.Call, feed: _Feed) -> GrpcAnswer:
    messages = []
    try:
        for message in call:
            messages.append(message)
            feed.answered()
    except grpc.RpcError:
        pass  # told by the call itself
    finally:
        feed.end()
    return GrpcAnswer(call.code().name, call.details() or "", tuple(messages))
