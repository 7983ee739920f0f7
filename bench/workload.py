"""What a scenario asks of a server: which model, over which wire, with which tensor.

A workload is the same for every target. How a target is asked for it, and which answer is right,
is the target's to say (`ServerProcess.request`), since only some of them speak KServe's protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Wire(StrEnum):
    """How tensors travel; targets with a protocol of their own take the one that is most alike."""

    BINARY = "HTTP, binary"
    JSON = "HTTP, JSON"
    GRPC = "gRPC"
    STREAM = "gRPC stream"


@dataclass(frozen=True, slots=True)
class Workload:
    """One inference of `model`, one of bench/models/, with a batch of one.

    `elements` is the length of the input's only dimension beside the batch: floats, or strings
    for identity_bytes and python_bytes, or tokens for minilm, or answers for repeat, or calls for
    bls_exec and the like.
    """

    model: str
    wire: Wire
    elements: int = 16


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A POST, byte for byte but for Host and Content-Length. `right` judges an answer's body."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    right: Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class GrpcRequest:
    """A call: the path of its method and its one serialized message. `right` judges the messages
    of the answer, of which a unary call has one.
    """

    path: str
    message: bytes
    right: Callable[[list[bytes]], bool]

    @property
    def frame(self) -> bytes:
        """The message behind gRPC's prefix: not compressed, so many bytes."""
        return b"\0" + len(self.message).to_bytes(4, "big") + self.message


Request = HttpRequest | GrpcRequest
