"""Bytes that are no message, or are one in an unusual way; and calls that are made wrongly."""

from __future__ import annotations

from tests.wire_grpc.protobuf_bytes import block, double, group, number, packed, single, tag, varint
from tests.wire_grpc.requests import GrpcRequest, contents, given, message
from tests.wire_grpc.table_contents import FLOATS, ONES, pair

GOOD = message("add_sub", *pair(), raw=[FLOATS, ONES])
_INT = given("INPUT0", "INT32", [1, 2], contents(int=[7, 8]))


def _infer(name: str, content: bytes, **fields: object) -> GrpcRequest:
    return GrpcRequest(name=name, messages=(content,), **fields)  # type: ignore[arg-type]


def _with_input(name: str, content: bytes) -> GrpcRequest:
    return _infer(name, message("identity_int32", content))


def _with_contents(name: str, content: bytes) -> GrpcRequest:
    return _with_input(name, given("INPUT0", "INT32", [1, 2], content))


def _with_parameter(name: str, content: bytes) -> GrpcRequest:
    return _infer(name, message("identity_int32", _INT) + block(4, content))


CUT = (
    _infer("bytes none", b""),
    _infer("bytes cut by one", GOOD[:-1]),
    _infer("bytes cut in the middle", GOOD[: len(GOOD) // 2]),
    _infer("bytes cut in a tag", GOOD + b"\x80"),
    _infer("bytes cut in a length", GOOD + b"\x3a"),
    _infer("bytes cut in a number", GOOD + b"\x98\x06\x80"),
    _infer("bytes of zero behind", GOOD + b"\0"),
    _infer("bytes of junk behind", GOOD + b"junk"),
    _infer("bytes all 0xff", b"\xff" * 32),
    _infer("bytes all zero", b"\0" * 32),
    _infer("bytes of json", b'{"model_name":"add_sub"}'),
    _infer("bytes of text", b"hello"),
)

TAGS = (
    _infer("field number zero", GOOD + block(0, "x")),
    _infer("field number largest", GOOD + number(2**29 - 1, 1)),
    _infer("field number beyond 29 bits", GOOD + varint(2**32 << 3) + b"\0"),
    _infer("field of wire type 6", GOOD + b"\x9e\x06"),
    _infer("field of wire type 7", GOOD + b"\x9f\x06"),
    _infer("length beyond the end", GOOD + b"\x3a\x7f"),
    _infer("length beyond int32", GOOD + b"\x3a" + varint(2**31)),
    _infer("length beyond int64", GOOD + b"\x3a" + varint(2**63)),
    _infer("number of eleven bytes", GOOD + b"\x98\x06" + b"\x80" * 10 + b"\1"),
    _infer("number of ten bytes", GOOD + b"\x98\x06" + b"\xff" * 9 + b"\x7f"),
    _infer("group passed over", GOOD + group(99, number(1, 1) + group(2, b""))),
    _infer("group without an end", GOOD + tag(99, 3) + number(1, 1)),
    _infer("group with another end", GOOD + tag(99, 3) + tag(98, 4)),
    _infer("group end alone", GOOD + tag(99, 4)),
    _infer("groups nested 90 deep", GOOD + tag(99, 3) * 90 + tag(99, 4) * 90),
    _infer("groups nested 1,000 deep", GOOD + tag(99, 3) * 1000 + tag(99, 4) * 1000),
)

WRONG_TYPES = (
    _infer("model name as a number", number(1, 5)),
    _infer("model name as a number beside a good one", number(1, 5) + GOOD),
    _infer("inputs as a number", message("add_sub") + number(5, 5)),
    _infer("raw contents as a number", GOOD + number(7, 5)),
    _with_input("datatype as a number", block(1, "INPUT0") + number(2, 5) + packed(3, [1, 2])),
    _with_input("shape as a double", block(1, "INPUT0") + block(2, "INT32") + double(3, 1.0)),
    _with_input("shape cut", block(1, "INPUT0") + block(2, "INT32") + block(3, b"\x01\x80")),
    _with_input("contents as a number", given("INPUT0", "INT32", [1, 2]) + number(5, 1)),
    _with_contents("contents of int as floats", single(2, 1.0) + single(2, 2.0)),
    _with_contents("contents of int cut", block(2, b"\x07\x80")),
    _with_contents("contents of floats of five bytes", block(6, b"12345")),
    _with_contents("contents of doubles of nine bytes", block(7, b"123456789")),
    _with_contents("contents cut", b"\x12\x7f"),
    _with_contents("contents of junk", b"\xff\xff"),
    _with_contents("contents of strings as numbers", number(8, 5)),
    _with_parameter("parameter of junk", b"\xff\xff"),
    _with_parameter("parameter key as a number", number(1, 5)),
    _with_parameter("parameter value of junk", block(1, "k") + block(2, b"\xff\xff")),
    _with_parameter("parameter value as a number", block(1, "k") + number(2, 5)),
    _with_parameter("parameter bool as text", block(1, "k") + block(2, block(1, "yes"))),
)

NOT_UTF8 = (
    _infer("model name not UTF-8", message(b"\xff\xfe", *pair())),
    _infer("model version not UTF-8", message("add_sub", *pair(), version=b"\xff")),
    _infer("request id not UTF-8", message("add_sub", *pair(), request_id=b"\xff")),
    _infer("request id a surrogate", message("add_sub", *pair(), request_id=b"\xed\xa0\x80")),
    _with_input("input name not UTF-8", given(b"\xff", "INT32", [1, 2], contents(int=[7, 8]))),
    _with_input("datatype not UTF-8", given("INPUT0", b"\xff", [1, 2], contents(int=[7, 8]))),
    _infer("output name not UTF-8", message("identity_int32", _INT, outputs=[block(1, b"\xff")])),
    _with_parameter("parameter key not UTF-8", block(1, b"\xff") + block(2, number(2, 1))),
    _with_parameter("parameter text not UTF-8", block(1, "k") + block(2, block(3, b"\xff"))),
    _infer(
        "broken and of an unknown model",
        message("no_such_model", block(2, b"\xff")),
    ),
    _infer(
        "broken and of a decoupled model",
        message("decoupled", block(2, b"\xff")),
    ),
)

_METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
    "/grpc.health.v1.Health/Check",
)

OTHER_METHODS = (
    *(
        GrpcRequest(
            name=f"{method.rpartition('/')[2]} of broken bytes",
            method=method,
            messages=(b"\x0a\x7f",),
        )
        for method in _METHODS
    ),
    *(
        GrpcRequest(
            name=f"{method} of a name not UTF-8", method=method, messages=(block(1, b"\xff"),)
        )
        for method in ("ModelReady", "ModelMetadata", "RepositoryIndex")
    ),
    GrpcRequest(
        name="ServerLive with unknown fields", method="ServerLive", messages=(block(9, "x"),)
    ),
)

CALLS = (
    GrpcRequest(name="method unknown", method="ModelInferLater"),
    GrpcRequest(name="method in small letters", method="modelinfer", messages=(GOOD,)),
    GrpcRequest(name="method missing", method="/inference.GRPCInferenceService/"),
    GrpcRequest(name="method of an unknown service", method="/inference.Other/ModelInfer"),
    GrpcRequest(name="method without a service", method="/ModelInfer"),
    GrpcRequest(
        name="method with a slash behind", method="/inference.GRPCInferenceService/ModelInfer/"
    ),
    GrpcRequest(name="method of no name at all", method="/"),
    GrpcRequest(name="unary without a message", messages=(), streamed=True),
    GrpcRequest(name="unary with two messages", messages=(GOOD, GOOD), streamed=True),
    GrpcRequest(name="control without a message", method="ServerLive", messages=(), streamed=True),
    GrpcRequest(
        name="control with two messages", method="ServerLive", messages=(b"", b""), streamed=True
    ),
    *(
        GrpcRequest(name=f"good in {how}", messages=(GOOD,), compression=how)
        for how in ("gzip", "deflate")
    ),
    *(
        GrpcRequest(name=f"bad in {how}", messages=(GOOD + b"\0",), compression=how)
        for how in ("gzip", "deflate")
    ),
    *(
        GrpcRequest(
            name=f"large in {how}",
            messages=(
                message(
                    "identity_uint8", given("INPUT0", "UINT8", [1, 20_000]), raw=[bytes(20_000)]
                ),
            ),
            compression=how,
        )
        for how in ("gzip", "deflate")
    ),
    *(
        GrpcRequest(
            name=f"beyond HTTP's limit {how}".rstrip(),
            messages=(
                message("small_uint8", given("INPUT0", "UINT8", [1, 9000]), raw=[bytes(9000)]),
            ),
            compression=compression,
            server="limited",
        )
        for how, compression in (("", ""), ("in gzip", "gzip"), ("in deflate", "deflate"))
    ),
    GrpcRequest(
        name="control in gzip",
        method="ModelReady",
        messages=(block(1, "add_sub" * 20),),
        compression="gzip",
    ),
    GrpcRequest(
        name="metadata of one's own",
        messages=(GOOD,),
        metadata=(("x-own", "value"), ("x-own-bin", b"\0\xff")),  # type: ignore[arg-type]
    ),
)

BROKEN: tuple[GrpcRequest, ...] = (
    *CUT,
    *TAGS,
    *WRONG_TYPES,
    *NOT_UTF8,
    *OTHER_METHODS,
    *CALLS,
)
