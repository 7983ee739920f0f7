"""Triton's tensor datatypes as one frozen table; imports nothing heavy, so that every small process
may use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Datatype:
    """One datatype under each of its names.

    `byte_size` is that of one element; 0 means variable length (BYTES: each element is a
    little-endian uint32 length and its bytes). `numpy_name` is what `numpy.dtype()` takes; None
    where numpy itself has no such type (BF16). `contents_field` is the member of
    `InferTensorContents` that carries typed gRPC data; None where gRPC allows raw data only.
    `json_data` tells whether `data` of an HTTP request may hold this datatype.
    """

    number: int
    config_name: str
    wire_name: str
    byte_size: int
    numpy_name: str | None
    contents_field: str | None
    json_data: bool = True


DATATYPES: Final[tuple[Datatype, ...]] = (
    Datatype(1, "TYPE_BOOL", "BOOL", 1, "bool", "bool_contents"),
    Datatype(2, "TYPE_UINT8", "UINT8", 1, "uint8", "uint_contents"),
    Datatype(3, "TYPE_UINT16", "UINT16", 2, "uint16", "uint_contents"),
    Datatype(4, "TYPE_UINT32", "UINT32", 4, "uint32", "uint_contents"),
    Datatype(5, "TYPE_UINT64", "UINT64", 8, "uint64", "uint64_contents"),
    Datatype(6, "TYPE_INT8", "INT8", 1, "int8", "int_contents"),
    Datatype(7, "TYPE_INT16", "INT16", 2, "int16", "int_contents"),
    Datatype(8, "TYPE_INT32", "INT32", 4, "int32", "int_contents"),
    Datatype(9, "TYPE_INT64", "INT64", 8, "int64", "int64_contents"),
    Datatype(10, "TYPE_FP16", "FP16", 2, "float16", None, json_data=False),
    Datatype(11, "TYPE_FP32", "FP32", 4, "float32", "fp32_contents"),
    Datatype(12, "TYPE_FP64", "FP64", 8, "float64", "fp64_contents"),
    Datatype(13, "TYPE_STRING", "BYTES", 0, "object", "bytes_contents"),
    Datatype(14, "TYPE_BF16", "BF16", 2, None, None, json_data=False),
)

INVALID_NUMBER: Final = 0
INVALID_CONFIG_NAME: Final = "TYPE_INVALID"
INVALID_WIRE_NAME: Final = "<invalid>"

BY_NUMBER: Final[Mapping[int, Datatype]] = MappingProxyType({d.number: d for d in DATATYPES})
BY_CONFIG_NAME: Final[Mapping[str, Datatype]] = MappingProxyType(
    {d.config_name: d for d in DATATYPES}
)
BY_WIRE_NAME: Final[Mapping[str, Datatype]] = MappingProxyType({d.wire_name: d for d in DATATYPES})


def wire_name(number: int) -> str:
    """The wire string of a datatype number, `<invalid>` for 0 and for numbers nobody knows."""
    datatype = BY_NUMBER.get(number)
    return datatype.wire_name if datatype else INVALID_WIRE_NAME


def config_name(number: int) -> str:
    """The model config's enum name of a datatype number, `TYPE_INVALID` for 0 and unknown ones."""
    datatype = BY_NUMBER.get(number)
    return datatype.config_name if datatype else INVALID_CONFIG_NAME
