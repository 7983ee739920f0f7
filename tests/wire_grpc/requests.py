"""One gRPC call of the table as data, and the short forms that the tables are written in.

Messages are bytes, made by hand where no message class would make them; they are sent as they are,
first to the real Triton (tests/oracle/record_grpc.py), later to pyserver (test_grpc_table.py).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.wire_grpc.protobuf_bytes import block, double, number, packed

SERVICE = "/inference.GRPCInferenceService/"
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class GrpcRequest:
    """A call, and what one needs to know to compare its answer.

    `method` is a method of the inference service, or a whole path. A call with `streamed` sends
    `messages` one after the other and ends its side; with `lockstep` each waits for an answer to
    the one before. Any other call has exactly one message. `compression` is "gzip" or "deflate".

    `masked` names the members of the answer whose values differ from run to run. With
    `interleaved` only the order of answers with the same id counts. Rows that have `together` in
    common are sent in the order of the table and make sense only so. `server` says which of the
    servers of `SERVERS` is asked.
    """

    name: str
    method: str = "ModelInfer"
    messages: tuple[bytes, ...] = (b"",)
    streamed: bool = False
    lockstep: bool = False
    compression: str = ""
    metadata: Metadata = ()
    masked: tuple[str, ...] = ()
    interleaved: bool = False
    together: str = ""
    server: str = "main"

    @property
    def path(self) -> str:
        return self.method if self.method.startswith("/") else SERVICE + self.method

    def content(self) -> tuple[object, ...]:
        """All that a server sees of it: rows with the same content are one."""
        return (
            *(self.server, self.together, self.path, self.messages),
            *(self.streamed, self.lockstep, self.compression, self.metadata),
        )


@dataclass(frozen=True, slots=True)
class Variant:
    """A parameter's value in the member of the oneof that is named; `unset` has no member."""

    member: str
    value: Any = None

    def to_bytes(self) -> bytes:
        match self.member:
            case "bool":
                return number(1, self.value)
            case "int64":
                return number(2, self.value)
            case "string":
                return block(3, self.value)
            case "double":
                return double(4, self.value)
            case "uint64":
                return number(5, self.value)
            case "unset":
                return b""
        raise ValueError(self.member)


def variant(value: Any) -> Variant:
    """The member that a value of Python belongs in; integers beyond int64 are unsigned."""
    if isinstance(value, Variant):
        return value
    if isinstance(value, bool):
        return Variant("bool", value)
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return Variant("int64", value)
        return Variant("uint64", value) if 0 <= value < 2**64 else Variant("double", float(value))
    if isinstance(value, float):
        return Variant("double", value)
    return Variant("string", value)


Parameters = Mapping[str, Any]


def parameters_bytes(field: int, parameters: Parameters | None) -> bytes:
    """A map<string, InferParameter>."""
    return b"".join(
        block(field, block(1, key) + block(2, variant(value).to_bytes()))
        for key, value in (parameters or {}).items()
    )


_NUMBERS = {"bool": 1, "int": 2, "int64": 3, "uint": 4, "uint64": 5}


def contents(**members: Sequence[Any]) -> bytes:
    """An InferTensorContents of the named members, `int` being int_contents."""
    written = b""
    for name, values in members.items():
        if name in _NUMBERS:
            written += packed(_NUMBERS[name], values)
        elif name == "bytes":
            written += b"".join(block(8, value) for value in values)
        else:
            code, field = ("f", 6) if name == "fp32" else ("d", 7)
            written += block(field, struct.pack(f"<{len(values)}{code}", *values))
    return written


def given(
    name: str | bytes | None,
    datatype: str | bytes | None,
    shape: Sequence[int] | None,
    data: bytes | None = None,
    /,
    **parameters: Any,
) -> bytes:
    """An InferInputTensor; what is None is left out. `data` is made by `contents`."""
    written = b""
    if name is not None:
        written += block(1, name)
    if datatype is not None:
        written += block(2, datatype)
    if shape:
        written += packed(3, shape)
    written += parameters_bytes(4, parameters)
    return written if data is None else written + block(5, data)


def asked(name: str | None, /, **parameters: Any) -> bytes:
    """An InferRequestedOutputTensor."""
    return (b"" if name is None else block(1, name)) + parameters_bytes(2, parameters)


def message(
    model: str | bytes,
    *inputs: bytes,
    outputs: Sequence[bytes] = (),
    raw: Sequence[bytes] = (),
    parameters: Parameters | None = None,
    version: str | bytes = "",
    request_id: str | bytes = "",
) -> bytes:
    """A ModelInferRequest."""
    written = block(1, model)
    if version:
        written += block(2, version)
    if request_id:
        written += block(3, request_id)
    written += parameters_bytes(4, parameters)
    written += b"".join(block(5, one) for one in inputs)
    written += b"".join(block(6, one) for one in outputs)
    return written + b"".join(block(7, one) for one in raw)
