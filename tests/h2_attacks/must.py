"""What must come of an attack, as data: each class here is one kind of answer and how to see it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from tests.h2_attacks.wire import Seen, Wire


class Code(IntEnum):
    """HTTP/2's error codes (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL = 1
    INTERNAL = 2
    FLOW_CONTROL = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION = 9
    ENHANCE_YOUR_CALM = 11


class Must(Protocol):
    """How an attack has to end for the one who makes it."""

    def come(self, seen: Seen) -> bool: ...

    @property
    def survives(self) -> bool:
        """Whether an ordinary call on the same connection must work afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class GoAway:
    """The connection is ended, and the reason is one of these codes."""

    codes: tuple[Code, ...]
    survives: bool = False

    def __init__(self, *codes: Code) -> None:
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "survives", False)

    def come(self, seen: Seen) -> bool:
        return seen.closed and bool(seen.goaways) and seen.goaways[-1] in self.codes


@dataclass(frozen=True, slots=True)
class Reset:
    """The stream is reset with this code; the connection goes on."""

    code: Code
    stream: int = 1
    survives: bool = True

    def come(self, seen: Seen) -> bool:
        return seen.resets.get(self.stream) == self.code


@dataclass(frozen=True, slots=True)
class Status:
    """The call is answered with this status of gRPC's."""

    code: int
    stream: int = 1
    survives: bool = True

    def come(self, seen: Seen) -> bool:
        return seen.grpc_status(self.stream) == self.code


@dataclass(frozen=True, slots=True)
class Http:
    """The call is answered with this status of HTTP's."""

    status: str
    stream: int = 1
    survives: bool = True

    def come(self, seen: Seen) -> bool:
        return seen.heads.get(self.stream, {}).get(":status") == self.status


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection is closed; nothing is said, or a GOAWAY without a fault."""

    survives: bool = False

    def come(self, seen: Seen) -> bool:
        return seen.closed and all(code == Code.NO_ERROR for code in seen.goaways)


@dataclass(frozen=True, slots=True)
class NotHttp2:
    """Whoever does not begin with the preface is answered as a bad client of HTTP/1.1."""

    survives: bool = False

    def come(self, seen: Seen) -> bool:
        return seen.closed and seen.plain.startswith(b"HTTP/1.1 400 ")


@dataclass(frozen=True, slots=True)
class Nothing:
    """It is allowed, or to be ignored: the connection works as if it had not been."""

    survives: bool = True

    def come(self, seen: Seen) -> bool:
        return not seen.closed and not seen.goaways


def describe(wire: Wire) -> str:
    """What has come, for a message about what should have."""
    seen = wire.seen
    statuses = {stream: fields.get("grpc-status") for stream, fields in seen.heads.items()}
    return (
        f"goaways {seen.goaways}, resets {dict(list(seen.resets.items())[:5])}, "
        f"heads {dict(list(seen.heads.items())[:3])}, statuses {dict(list(statuses.items())[:5])}, "
        f"closed {seen.closed}, plain {seen.plain[:60]!r}"
    )
