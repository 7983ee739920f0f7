"""Writes protobuf's wire format by hand, so that rows can say what no message class lets one say:
values too wide for their field, wrong wire types, text that is not UTF-8.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32 = range(6)


def varint(value: int) -> bytes:
    """Negative numbers as their 64 bits, in ten bytes."""
    value &= 2**64 - 1
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def tag(field: int, wire_type: int) -> bytes:
    return varint(field << 3 | wire_type)


def number(field: int, value: int) -> bytes:
    return tag(field, VARINT) + varint(value)


def block(field: int, content: bytes | str) -> bytes:
    """A string, bytes, a message, or packed values."""
    if isinstance(content, str):
        content = content.encode()
    return tag(field, LENGTH) + varint(len(content)) + content


def double(field: int, value: float) -> bytes:
    return tag(field, FIXED64) + struct.pack("<d", value)


def single(field: int, value: float) -> bytes:
    return tag(field, FIXED32) + struct.pack("<f", value)


def packed(field: int, values: Iterable[int]) -> bytes:
    return block(field, b"".join(varint(int(value)) for value in values))


def group(field: int, content: bytes) -> bytes:
    """What proto2 called a group; proto3 parsers pass over it."""
    return tag(field, START_GROUP) + content + tag(field, END_GROUP)
