"""Where a tensor's data comes from (spec 2.4): typed contents, raw contents, both, neither."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.wire.requests import strings
from tests.wire_grpc.protobuf_bytes import block, number, single
from tests.wire_grpc.requests import GrpcRequest, contents, given, message

FLOATS = np.arange(16, dtype="<f4").tobytes()
ONES = np.ones(16, dtype="<f4").tobytes()
COUNT = [float(i) for i in range(16)]
_EIGHT = np.array([7, 8], "<i4").tobytes()
_RAW_INT = given("INPUT0", "INT32", [1, 2])

# Values that fit each typed field.
_SAMPLES: dict[str, Any] = {
    "bool": [True, False],
    "int": [1, 2],
    "int64": [1, 2],
    "uint": [1, 2],
    "uint64": [1, 2],
    "fp32": [1.5, 2.5],
    "fp64": [1.5, 2.5],
    "bytes": [b"ab", b"c"],
}
_DATATYPES = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "FP32": 4,
    "FP64": 8,
    "BF16": 2,
    "BYTES": 0,
}


def pair(first: bytes | None = None, second: bytes | None = None) -> tuple[bytes, bytes]:
    """The inputs of add_sub."""
    return (
        given("INPUT0", "FP32", [1, 16], first),
        given("INPUT1", "FP32", [1, 16], second),
    )


def _infer(name: str, *inputs: bytes, model: str = "add_sub", **fields: Any) -> GrpcRequest:
    return GrpcRequest(name=name, messages=(message(model, *inputs, **fields),))


def _identity(
    name: str, datatype: str, data: bytes | None, shape: Any = (1, 2), **fields: Any
) -> GrpcRequest:
    return _infer(
        name, given("INPUT0", datatype, shape, data), model=f"identity_{datatype.lower()}", **fields
    )


EACH_FIELD = tuple(
    _identity(f"typed {field} for {datatype}", datatype, contents(**{field: values}))
    for datatype in _DATATYPES
    for field, values in _SAMPLES.items()
)

# As the newest clients fill them, and as an old writer would: one by one, not packed.
FORMS = (
    _identity("typed fp32 not packed", "FP32", single(6, 1.5) + single(6, 2.5)),
    _identity("typed int not packed", "INT32", number(2, 7) + number(2, -8)),
    _identity("typed half packed", "INT32", number(2, 7) + contents(int=[8])),
    _identity("typed contents in two parts", "INT32", contents(int=[7]) + contents(int=[8])),
    _infer(
        "typed contents twice are merged",
        given("INPUT0", "INT32", [1, 2], contents(int=[7])) + block(5, contents(int=[8])),
        model="identity_int32",
    ),
    _identity("typed values wider than int32", "INT32", contents(int=[2**32 + 7, -(2**40)])),
    _identity("typed values wider than uint8", "UINT8", contents(uint=[257, 2**31])),
    _identity("typed values wider than int8", "INT8", contents(int=[130, -200])),
    _identity("typed values wider than int16", "INT16", contents(int=[40000, -40000])),
    _identity("typed values wider than uint16", "UINT16", contents(uint=[65537, 2**31])),
    _identity("typed booleans other than 0 and 1", "BOOL", contents(bool=[2, 2**40])),
    _identity("typed too few", "INT32", contents(int=[7])),
    _identity("typed too many", "INT32", contents(int=[7, 8, 9])),
    _identity("typed too few strings", "BYTES", contents(bytes=[b"a"])),
    _identity("typed too many strings", "BYTES", contents(bytes=[b"a", b"b", b"c"])),
    _identity("typed strings that are not UTF-8", "BYTES", contents(bytes=[b"\xff", b"\0"])),
    _identity("typed empty strings", "BYTES", contents(bytes=[b"", b""])),
    _identity(
        "typed strings, 5,000 of them", "BYTES", contents(bytes=[b"x"] * 5000), shape=(1, 5000)
    ),
    _identity("typed not numbers", "FP32", contents(fp32=[float("nan"), float("-inf")])),
    _identity("typed unknown field", "INT32", contents(int=[7, 8]) + number(99, 1)),
    _identity("typed fields of no elements beside", "INT32", contents(int=[7, 8], fp32=[])),
    _identity("typed in two fields", "INT32", contents(int=[7, 8], int64=[7, 8])),
    _identity("typed in two fields, right one second", "INT64", contents(int=[7], int64=[7, 8])),
    _identity("typed in two wrong fields", "FP32", contents(int=[7, 8], bytes=[b"a"])),
    _identity("typed in two fields, strings first", "BYTES", contents(bool=[1], bytes=[b"a"])),
    _identity("typed in all fields", "FP64", contents(**_SAMPLES)),
)

EMPTY = (
    _identity("contents empty", "INT32", b""),
    _identity("contents empty for no elements", "INT32", b"", shape=(1, 0)),
    _identity("contents missing", "INT32", None),
    _identity("contents missing for no elements", "INT32", None, shape=(1, 0)),
    _identity("contents empty for no strings", "BYTES", b"", shape=(1, 0)),
    _identity("contents missing for no strings", "BYTES", None, shape=(1, 0)),
    _identity("contents empty and raw", "INT32", b"", raw=[_EIGHT]),
    _identity("contents for no elements", "INT32", contents(int=[7, 8]), shape=(1, 0)),
    _identity("raw for no elements", "INT32", None, shape=(1, 0), raw=[b""]),
    _identity("raw bytes for no elements", "INT32", None, shape=(1, 0), raw=[_EIGHT]),
    _identity("raw for no strings", "BYTES", None, shape=(1, 0), raw=[b""]),
    _identity("raw empty where elements are", "INT32", None, raw=[b""]),
    _identity("raw empty for a batch of none", "INT32", None, shape=(0, 2), raw=[b""]),
)

RAW = (
    *(
        _identity(
            f"raw {datatype}",
            datatype,
            None,
            raw=[strings(b"ab", b"") if datatype == "BYTES" else bytes(range(2 * width))],
        )
        for datatype, width in _DATATYPES.items()
        if datatype != "BOOL"
    ),
    *(
        _identity(f"raw {datatype}, one byte too few", datatype, None, raw=[bytes(2 * width - 1)])
        for datatype, width in _DATATYPES.items()
        if width > 0
    ),
    _identity("raw one byte too many", "INT32", None, raw=[_EIGHT + b"x"]),
    _identity("raw of another tensor's size", "INT32", None, raw=[_EIGHT * 2]),
    _infer("raw for both", *pair(), raw=[FLOATS, ONES]),
    _infer("raw, one entry missing", *pair(), raw=[FLOATS]),
    _infer("raw, no entry", *pair()),
    _infer("raw, one entry too many", *pair(), raw=[FLOATS, ONES, b"junk"]),
    _infer("raw, many entries too many", *pair(), raw=[FLOATS, ONES, *([b""] * 5000)]),
    _infer("raw, second one short", *pair(), raw=[FLOATS, ONES[:-4]]),
    _infer("raw, in reverse", *pair()[::-1], raw=[ONES, FLOATS]),
    _infer("raw entries without inputs", raw=[FLOATS, ONES]),
    _infer("raw and typed for one each", *pair(contents(fp32=COUNT)), raw=[ONES]),
    _infer("raw and typed, typed second", *pair(None, contents(fp32=COUNT)), raw=[FLOATS]),
    _infer(
        "raw and typed for the same", *pair(contents(fp32=COUNT), contents(fp32=COUNT)), raw=[ONES]
    ),
    _infer("raw and wrong typed", *pair(contents(int=[1])), raw=[FLOATS, ONES]),
    _infer("typed for one only", *pair(contents(fp32=COUNT))),
    _infer("typed for the second only", *pair(None, contents(fp32=COUNT))),
    _infer("typed for both", *pair(contents(fp32=COUNT), contents(fp32=COUNT[::-1]))),
    _infer("typed, second one wrong", *pair(contents(fp32=COUNT), contents(fp64=COUNT))),
    _infer("typed, second one short", *pair(contents(fp32=COUNT), contents(fp32=COUNT[:3]))),
)


def _strings(name: str, raw: bytes, shape: Any = (1, 2)) -> GrpcRequest:
    return _identity(f"raw strings, {name}", "BYTES", None, shape=shape, raw=[raw])


STRINGS = (
    _strings("length cut", b"\x01\x00\x00", (1, 1)),
    _strings("length only", b"\x01\x00\x00\x00", (1, 1)),
    _strings("no length", b"a", (1, 1)),
    _strings("one too few", strings(b"a")),
    _strings("one too many", strings(b"a", b"b", b"c")),
    _strings("second length cut", strings(b"a") + b"\x01\x00"),
    _strings("last one cut", strings(b"a") + b"\x05\x00\x00\x00ab"),
    _strings("bytes behind the last", strings(b"a", b"b") + b"xyz"),
    _strings("length beyond all", b"\xff\xff\xff\xffab", (1, 1)),
    _strings("length beyond int32", b"\x00\x00\x00\x80ab", (1, 1)),
    _strings("for no elements", strings(b"a"), (1, 0)),
    _strings("in big endian", b"\x00\x00\x00\x01a", (1, 1)),
)

_SHM = {"shared_memory_region": "no", "shared_memory_byte_size": 8}

REGIONS = (
    _identity("region and typed contents", "INT32", None, raw=[]),
    _infer(
        "region and typed",
        given("INPUT0", "INT32", [1, 2], contents(int=[7, 8]), **_SHM),
        model="identity_int32",
    ),
    _infer(
        "region and contents of nothing",
        given("INPUT0", "INT32", [1, 2], b"", **_SHM),
        model="identity_int32",
    ),
    _infer(
        "region and raw",
        given("INPUT0", "INT32", [1, 2], **_SHM),
        model="identity_int32",
        raw=[_EIGHT],
    ),
    _infer("region alone", given("INPUT0", "INT32", [1, 2], **_SHM), model="identity_int32"),
    _infer(
        "region of no elements",
        given("INPUT0", "INT32", [1, 0], **_SHM),
        model="identity_int32",
    ),
    _infer(
        "region for the first, raw for the second",
        given("INPUT0", "FP32", [1, 16], **_SHM),
        pair()[1],
        raw=[ONES],
    ),
    _infer(
        "region for the second, raw missing for the first",
        pair()[0],
        given("INPUT1", "FP32", [1, 16], **_SHM),
    ),
)

CONTENTS: tuple[GrpcRequest, ...] = (*EACH_FIELD, *FORMS, *EMPTY, *RAW, *STRINGS, *REGIONS)
