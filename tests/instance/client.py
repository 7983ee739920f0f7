"""A submitter in Python: what a frontend does with shared memory, slowly and by hand.

It has a channel to a real engine, writes request tables into its own region and reads response
tables out of the instances'. Everything that crosses is laid out here a second time on purpose: the
layout is a contract, and this is its other reading.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyserver import _core
from pyserver.datatype import BY_NUMBER, BY_WIRE_NAME

PAGE = 4096
RING_HEADER = 192
RING_BYTES = RING_HEADER + _core.RING_CAPACITY * _core.RECORD_BYTES
TO_CORE = PAGE
FROM_CORE = TO_CORE + -(-RING_BYTES // PAGE) * PAGE

SUBMIT, CANCEL, RETURN, REPLY, RELEASED = 1, 2, 3, 11, 12
FINAL, ERROR, EMPTY, RELEASED_FLAG = 1, 2, 4, 8

BOOL, INT, DOUBLE, STRING = range(4)

# A ring's counters. Without a byte order `struct` copies eight bytes at once; with one it goes byte
# by byte, and the engine would see half a number.
COUNTER = struct.Struct("Q")


@dataclass(frozen=True)
class Response:
    """One response. `outputs` are copies, BYTES in object arrays; `places` tell in whose region
    (peer, offset) they lay."""

    flags: int
    code: int
    message: str
    outputs: dict[str, Any]
    datatypes: dict[str, str]
    places: dict[str, tuple[int, int]]
    parameters: dict[str, Any]

    @property
    def failed(self) -> bool:
        return bool(self.flags & ERROR)


@dataclass
class Call:
    """One request on its way."""

    ticket: int
    responses: list[Response] = field(default_factory=list)
    final: bool = False
    released: bool = False
    input_offsets: dict[str, int] = field(default_factory=dict)


class Client:
    """Not thread-safe. `regions` maps peer ids to descriptors of their regions."""

    def __init__(self, engine: Any, region_bytes: int = 64 << 20) -> None:
        self.peer, fds = engine.make_peer("control", region_bytes)
        rings, self._core_bell, self._own_bell, self.region_fd = fds
        self._rings = mmap.mmap(rings, 0)
        os.close(rings)
        self._region = mmap.mmap(self.region_fd, 0)
        self._regions: dict[int, mmap.mmap] = {self.peer: self._region}
        self._used = 0
        self._tail = self._head = self._tickets = 0
        self.calls: dict[int, Call] = {}

    def close(self) -> None:
        for region in self._regions.values():
            region.close()
        self._rings.close()
        for fd in (self._core_bell, self._own_bell, self.region_fd):
            os.close(fd)

    def _publish(self, at: int, count: int) -> None:
        """In one store: struct clears the bytes first, and the reader would see a broken ring."""
        with memoryview(self._rings) as whole, whole.cast("Q") as words:
            words[at // 8] = count

    def know_region(self, peer: int, fd: int) -> None:
        self._regions[peer] = mmap.mmap(fd, 0, prot=mmap.PROT_READ)

    def submit(
        self,
        model: int,
        inputs: Mapping[str, Any],
        outputs: Sequence[str] = (),
        *,
        parameters: Mapping[str, Any] | None = None,
        request_id: str = "",
        rows: int = 1,
        alignment: int = 64,
        timeout_us: int = 0,
        signature: int = 0,
    ) -> Call:
        """`inputs`: arrays (object arrays for BYTES), or (wire datatype, shape, bytes)."""
        self._tickets += 1
        call = Call(self._tickets)
        placed = []
        for name, value in inputs.items():
            datatype, shape, data = wire_form(value)
            call.input_offsets[name] = self._put(data, alignment)
            placed.append((name, datatype, shape, call.input_offsets[name], len(data)))
        table = request_table(
            model, self.peer, placed, outputs, parameters or {}, request_id, rows, timeout_us
        )
        record = struct.pack(
            "<BBHIQQIIQQQQ",
            *(SUBMIT, 0, 0, model, call.ticket, self._put(table, 64), len(table), rows),
            *(signature, timeout_us, 0, 0),
        )
        self.calls[call.ticket] = call
        self._send(record)
        return call

    def cancel(self, call: Call) -> None:
        self._send(struct.pack("<B7xQ48x", CANCEL, call.ticket))

    def wait(self, call: Call, timeout_s: float = 20.0, *, released: bool = True) -> list[Response]:
        """All responses of the call, once it is over (and its memory is released)."""
        end = time.monotonic() + timeout_s
        while not call.final or (released and not call.released):
            assert time.monotonic() < end, f"no end of call {call}"
            if not self.poll():
                time.sleep(0.0005)
        return call.responses

    def infer(self, model: int, inputs: Mapping[str, Any], *args: Any, **more: Any) -> Response:
        """The one response of a request."""
        responses = self.wait(self.submit(model, inputs, *args, **more))
        assert len(responses) == 1
        return responses[0]

    def poll(self) -> bool:
        """Takes one record from core; whether there was one."""
        (tail,) = COUNTER.unpack_from(self._rings, FROM_CORE)
        if tail == self._head:
            return False
        at = FROM_CORE + RING_HEADER + self._head % _core.RING_CAPACITY * _core.RECORD_BYTES
        record = self._rings[at : at + _core.RECORD_BYTES]
        self._head += 1
        self._publish(FROM_CORE + 64, self._head)
        if record[0] == RELEASED:
            self.calls[struct.unpack_from("<Q", record, 8)[0]].released = True
        elif record[0] == REPLY:
            self._reply(record)
        return True

    def _reply(self, record: bytes) -> None:
        _, flags, code, _, size, ticket, offset, lease, owner = struct.unpack_from(
            "<BBBBIQQQI", record
        )
        call = self.calls[ticket]
        if not flags & EMPTY:
            table = self._regions[owner][offset : offset + size]
            call.responses.append(self._read(table, flags, code))
        if lease:
            self._send(struct.pack("<B7xQ48x", RETURN, lease))
        call.final |= bool(flags & FINAL)
        call.released |= bool(flags & RELEASED_FLAG)

    def _read(self, table: bytes, flags: int, code: int) -> Response:
        magic, size, count, _, parameter_count, at, length = struct.unpack_from("<IIHHIII", table)
        assert (magic, size) == (0x31505352, len(table))
        response = Response(flags, code, table[at : at + length].decode(), {}, {}, {}, {})
        for index in range(count):
            name, datatype, shape, region, offset, byte_size = _tensor(table, 24 + 40 * index)
            data = self._regions[region][offset : offset + byte_size]
            response.outputs[name] = decode(datatype, shape, data)
            response.datatypes[name] = BY_NUMBER[datatype].wire_name
            response.places[name] = region, offset
        for index in range(parameter_count):
            key, value = _parameter(table, 24 + 40 * count + 24 * index)
            response.parameters[key] = value
        return response

    def _put(self, data: bytes, alignment: int) -> int:
        # Never reused while the test runs: nothing here depends on anybody's release.
        self._used = -(-self._used // alignment) * alignment
        offset = self._used
        self._region[offset : offset + len(data)] = data
        self._used += len(data)
        return offset

    def _send(self, record: bytes) -> None:
        assert len(record) == _core.RECORD_BYTES
        at = TO_CORE + RING_HEADER + self._tail % _core.RING_CAPACITY * _core.RECORD_BYTES
        self._rings[at : at + _core.RECORD_BYTES] = record
        self._tail += 1
        self._publish(TO_CORE, self._tail)
        os.eventfd_write(self._core_bell, 1)


def wire_form(value: Any) -> tuple[int, tuple[int, ...], bytes]:
    """(datatype number, shape, bytes) of an input."""
    if isinstance(value, tuple):
        wire, shape, data = value
        return BY_WIRE_NAME[wire].number, tuple(shape), data
    array = np.asarray(value)
    if array.dtype == object:
        data = b"".join(struct.pack("<I", len(one)) + one for one in array.ravel())
        return BY_WIRE_NAME["BYTES"].number, array.shape, data
    row = next(row for row in BY_NUMBER.values() if row.numpy_name == array.dtype.name)
    return row.number, array.shape, array.tobytes()


def decode(datatype: int, shape: tuple[int, ...], data: bytes) -> Any:
    row = BY_NUMBER[datatype]
    if row.wire_name == "BYTES":
        elements, at = [], 0
        while at < len(data):
            (length,) = struct.unpack_from("<I", data, at)
            elements.append(data[at + 4 : at + 4 + length])
            at += 4 + length
        made = np.empty(len(elements), dtype=object)
        made[:] = elements
        return made.reshape(shape)
    if row.numpy_name is None:
        return data
    return np.frombuffer(data, row.numpy_name).reshape(shape)


def request_table(
    model: int,
    region: int,
    inputs: Sequence[tuple[str, int, tuple[int, ...], int, int]],
    outputs: Sequence[str],
    parameters: Mapping[str, Any],
    request_id: str,
    rows: int,
    timeout_us: int,
) -> bytes:
    """A RequestHeader and what follows it (csrc/shm/table.h)."""
    rank = sum(len(shape) for _, _, shape, _, _ in inputs)
    shapes_at = 96 + 40 * len(inputs) + 32 * len(outputs) + 24 * len(parameters)
    text_at = shapes_at + 8 * rank
    text = bytearray()

    def put(piece: str) -> tuple[int, int]:
        data = piece.encode()
        text.extend(data)
        return text_at + len(text) - len(data), len(data)

    body, shapes = b"", b""
    for index, (name, datatype, shape, offset, size) in enumerate(inputs):
        body += struct.pack(
            "<IIBBHIIIQQ",
            *put(name),
            *(datatype, 0, index, len(shape), shapes_at + len(shapes), region, offset, size),
        )
        shapes += struct.pack(f"<{len(shape)}q", *shape)
    for name in outputs:
        body += struct.pack("<IIHBBIQQ", *put(name), 0, 0, 0, 0, 0, 0)
    for key, value in parameters.items():
        kind, bits = _parameter_bits(value, put)
        body += struct.pack("<IIB7xQ", *put(key), kind, bits)
    identity = put(request_id)
    header = struct.pack(
        "<IIIIQIIIIQQIHHII24x",
        *(0x31514552, text_at + len(text), model, 0, 0, 0, 0),
        *identity,
        *(0, timeout_us, rows, len(inputs), len(outputs), len(parameters), 0),
    )
    return header + body + shapes + bytes(text)


def _parameter_bits(value: Any, put: Any) -> tuple[int, int]:
    if isinstance(value, bool):
        return BOOL, int(value)
    if isinstance(value, int):
        return INT, value & (2**64 - 1)
    if isinstance(value, float):
        return DOUBLE, struct.unpack("<Q", struct.pack("<d", value))[0]
    offset, length = put(value)
    return STRING, offset | length << 32


def _tensor(table: bytes, at: int) -> tuple[str, int, tuple[int, ...], int, int, int]:
    name, length, datatype, _, _, rank, shape_at, region, offset, size = struct.unpack_from(
        "<IIBBHIIIQQ", table, at
    )
    shape = struct.unpack_from(f"<{rank}q", table, shape_at)
    return table[name : name + length].decode(), datatype, shape, region, offset, size


def _parameter(table: bytes, at: int) -> tuple[str, Any]:
    key, length, kind, bits = struct.unpack_from("<IIB7xQ", table, at)
    name = table[key : key + length].decode()
    if kind == STRING:
        begin, size = bits & 0xFFFFFFFF, bits >> 32
        return name, table[begin : begin + size].decode()
    if kind == DOUBLE:
        return name, struct.unpack("<d", struct.pack("<Q", bits))[0]
    return name, bool(bits) if kind == BOOL else bits - (bits >> 63 << 64)
