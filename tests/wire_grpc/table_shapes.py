"""Names, versions, ids, datatypes and shapes that the HTTP table has not, or has no room for."""

from __future__ import annotations

from typing import Any

from tests.wire_grpc.protobuf_bytes import block, number
from tests.wire_grpc.requests import GrpcRequest, asked, contents, given, message
from tests.wire_grpc.table_contents import FLOATS, ONES, pair

_TWO = contents(int=[7, 8])
_RAW_TWO = b"\7\0\0\0\x08\0\0\0"
_BEYOND_32 = 2**32


def _identity(
    name: str, shape: Any, data: bytes | None = _TWO, datatype: str = "INT32", **fields: Any
) -> GrpcRequest:
    one = given("INPUT0", datatype, shape, data)
    return GrpcRequest(
        name=name, messages=(message(f"identity_{datatype.lower()}", one, **fields),)
    )


SHAPES = tuple(
    row
    for how, shape in (
        ("missing", ()),
        ("negative", (1, -2)),
        ("minus one", (1, -1)),
        ("negative batch", (-1, 2)),
        ("both negative", (-1, -2)),
        ("smallest", (1, -(2**63))),
        ("zero", (1, 0)),
        ("zero batch", (0, 2)),
        ("all zero", (0, 0)),
        ("zero and negative", (0, -1)),
        ("product beyond 64 bits", (_BEYOND_32, _BEYOND_32, 2)),
        ("product zero in 64 bits", (_BEYOND_32, _BEYOND_32)),
        ("product overflows before a zero", (_BEYOND_32, _BEYOND_32, _BEYOND_32, 0)),
        ("largest", (1, 2**63 - 1)),
        ("bytes beyond 64 bits", (1, 2**62)),
        ("product two in 64 bits", (2**63, 2, 1)),
        ("huge", (1, 10**12)),
        ("of nine dimensions", (1,) * 8 + (2,)),
        ("of 1,000 dimensions", (1,) * 1000),
    )
    for row in (
        _identity(f"shape {how}, typed", shape),
        _identity(f"shape {how}, raw", shape, None, raw=[_RAW_TWO]),
        _identity(f"shape {how}, no bytes", shape, None, raw=[b""]),
    )
)

SHAPE_FORMS = (
    GrpcRequest(
        name="shape not packed",
        messages=(
            message(
                "identity_int32",
                given("INPUT0", "INT32", []) + number(3, 1) + number(3, 2) + block(5, _TWO),
            ),
        ),
    ),
    _identity("shape huge strings", (1, 10**12), contents(bytes=[b"a"]), "BYTES"),
    _identity("shape bytes overflow, strings", (1, 2**62), contents(bytes=[b"a"]), "BYTES"),
    _identity("shape negative strings", (1, -1), contents(bytes=[b"a"]), "BYTES"),
    _identity("shape negative, raw strings", (1, -1), None, "BYTES", raw=[b"\1\0\0\0a"]),
)


def _infer(name: str, model: str | bytes, **fields: Any) -> GrpcRequest:
    return GrpcRequest(name=name, messages=(message(model, *pair(), raw=[FLOATS, ONES], **fields),))


NAMES = (
    _infer("model name empty", ""),
    _infer("model name with a blank", "add_sub "),
    _infer("model name beyond ASCII", "größe"),
    _infer("model name of 5,000 letters", "m" * 5000),
    _infer("model name with a null byte", "add\0sub"),
    *(
        _infer(f"model version {version!r}", "add_sub", version=version)
        for version in (
            *("1", "01", "+1", "1.0", "1x", " 1", "1 ", "0", "-0", "-1", "-2", "x", "0x1"),
            *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "1,2", "é"),
        )
    ),
    _infer("request id of 5,000 letters", "add_sub", request_id="i" * 5000),
    _infer("request id beyond ASCII", "add_sub", request_id="größe\n€"),
    _infer("request id with a null byte", "add_sub", request_id="a\0b"),
    _infer("request id in a refusal", "add_sub", request_id="größe", version="7"),
    GrpcRequest(
        name="request id in a refusal of the model's",
        messages=(message("add_sub", pair()[0], raw=[FLOATS], request_id="r-1"),),
    ),
    GrpcRequest(
        name="model name twice, the last one counts",
        messages=(block(1, "other") + message("add_sub", *pair(), raw=[FLOATS, ONES]),),
    ),
    GrpcRequest(
        name="unknown fields",
        messages=(
            message("add_sub", *pair(), raw=[FLOATS, ONES]) + number(99, 5) + block(1000, "more"),
        ),
    ),
)


def _asking(name: str, *outputs: bytes) -> GrpcRequest:
    return GrpcRequest(
        name=name, messages=(message("add_sub", *pair(), raw=[FLOATS, ONES], outputs=outputs),)
    )


OUTPUTS = (
    _asking("output missing its name", asked(None)),
    _asking("outputs one known one unknown", asked("OUTPUT0"), asked("OTHER")),
    _asking("outputs three times the same", *[asked("OUTPUT0")] * 3),
    _asking("outputs 2,000 unknown", *[asked(f"O{i}") for i in range(2000)]),
    GrpcRequest(
        name="inputs 2,000 unknown",
        messages=(
            message(
                "add_sub", *[given(f"I{i}", "FP32", [1], contents(fp32=[0])) for i in range(2000)]
            ),
        ),
    ),
)

SHAPES_AND_NAMES: tuple[GrpcRequest, ...] = (*SHAPES, *SHAPE_FORMS, *NAMES, *OUTPUTS)
