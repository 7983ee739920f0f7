"""ModelStreamInfer: order, errors within a stream, finals, and streams that break."""

from __future__ import annotations

from typing import Any

from tests.wire_grpc.protobuf_bytes import block
from tests.wire_grpc.requests import GrpcRequest, asked, contents, given, message
from tests.wire_grpc.table_contents import FLOATS, ONES, pair

_STRICT = (("triton_grpc_error", "true"),)
_EMPTY_FINAL = {"triton_enable_empty_final_response": True}


def _add_sub(request_id: str = "", **fields: Any) -> bytes:
    return message("add_sub", *pair(), raw=[FLOATS, ONES], request_id=request_id, **fields)


def _decoupled(count: int, request_id: str = "", **fields: Any) -> bytes:
    one = given("INPUT0", "INT32", [1], contents(int=[count]))
    return message("decoupled", one, request_id=request_id, **fields)


def _failing(code: int, request_id: str = "", **fields: Any) -> bytes:
    one = given("CODE", "INT32", [1, 1], contents(int=[code]))
    return message("failing", one, request_id=request_id, **fields)


def _unknown(request_id: str = "") -> bytes:
    return message("no_such_model", *pair(), raw=[FLOATS, ONES], request_id=request_id)


_NO_INPUTS = message("add_sub", request_id="none")


def _stream(name: str, *messages: bytes, **fields: Any) -> GrpcRequest:
    return GrpcRequest(
        name=f"stream {name}",
        method="ModelStreamInfer",
        messages=messages,
        streamed=True,
        **fields,
    )


ANSWERED = (
    _stream("of nothing"),
    _stream("of one", _add_sub("a")),
    _stream("of one without an id", _add_sub()),
    _stream("of many in order", *[_add_sub(f"r{i:02}") for i in range(20)]),
    _stream("of many in lockstep", *[_add_sub(f"r{i}") for i in range(5)], lockstep=True),
    _stream("to several models", _add_sub("a"), _failing(0, "b"), _add_sub("c")),
    _stream("with a version", _add_sub("a", version="1")),
    _stream("with a chosen output", _add_sub("a", outputs=[asked("OUTPUT1")])),
    _stream("wishing an empty final of a plain model", _add_sub("a", parameters=_EMPTY_FINAL)),
    _stream("in gzip", _add_sub("a"), compression="gzip"),
    _stream("decoupled of none", _decoupled(0, "d")),
    _stream("decoupled of one", _decoupled(1, "d")),
    _stream("decoupled of three", _decoupled(3, "d")),
    _stream("decoupled of none, final wished", _decoupled(0, "d", parameters=_EMPTY_FINAL)),
    _stream("decoupled of two, final wished", _decoupled(2, "d", parameters=_EMPTY_FINAL)),
    _stream(
        "decoupled of a version, final wished",
        _decoupled(1, "d", version="1", parameters=_EMPTY_FINAL),
    ),
    _stream(
        "decoupled, final wished by false",
        _decoupled(
            1, "d", parameters={**_EMPTY_FINAL, "triton_enable_empty_final_response": False}
        ),
    ),
    _stream("decoupled without an id, final wished", _decoupled(1, parameters=_EMPTY_FINAL)),
    _stream(
        "decoupled of two requests",
        _decoupled(3, "a"),
        _decoupled(2, "b"),
        interleaved=True,
    ),
    _stream(
        "decoupled between plain ones",
        _add_sub("a"),
        _decoupled(2, "d"),
        _add_sub("b"),
        interleaved=True,
    ),
)

REFUSED = (
    _stream("unknown model", _unknown("u")),
    _stream("unknown model without an id", _unknown()),
    _stream("unknown version", _add_sub("v", version="7")),
    _stream("version of words", _add_sub("v", version="x")),
    _stream("inputs missing", _NO_INPUTS),
    _stream("parameter reserved", _add_sub("p", parameters={"triton_x": 1})),
    _stream("parameter of a wrong kind", _add_sub("p", parameters={"sequence_id": True})),
    _stream(
        "final wish of a wrong kind",
        _decoupled(1, "d", parameters={**_EMPTY_FINAL, "triton_enable_empty_final_response": 1}),
    ),
    _stream("output unknown", _add_sub("o", outputs=[asked("OTHER")])),
    _stream("data missing", message("add_sub", *pair(), request_id="n")),
    _stream("data of a wrong type", message("add_sub", *pair(contents(int=[1])), request_id="w")),
    _stream(
        "decoupled without data",
        message("decoupled", given("INPUT0", "INT32", [1]), request_id="d"),
    ),
    _stream(
        "decoupled of a wrong shape",
        message("decoupled", given("INPUT0", "INT32", [2], contents(int=[1, 2])), request_id="d"),
    ),
    _stream(
        "decoupled of a wrong shape, final wished",
        message(
            "decoupled",
            given("INPUT0", "INT32", [2], contents(int=[1, 2])),
            request_id="d",
            parameters=_EMPTY_FINAL,
        ),
    ),
    _stream("decoupled of an unknown version", _decoupled(1, "d", version="9")),
    *(_stream(f"model fails with code {code}", _failing(code, "f")) for code in (1, 3, 4, 5, 9)),
    _stream("model fails by an exception", _failing(20, "f")),
    *(
        _stream(f"decoupled fails {how}{wish}", _decoupled(count, "d", parameters=parameters))
        for how, count in (("in the final answer", -1), ("after an answer", -2), ("by raising", -3))
        for wish, parameters in (("", {}), (", final wished", _EMPTY_FINAL))
    ),
    _stream("decoupled fails, version asked for", _decoupled(-1, "d", version="1")),
    _stream("model fails without an id", _failing(4)),
    _stream("model fails, version asked for", _failing(4, "f", version="1")),
    _stream("model fails, final wished", _failing(4, "f", parameters=_EMPTY_FINAL)),
    _stream("lives on after an unknown model", _unknown("u"), _add_sub("a")),
    _stream("lives on after a failure", _failing(4, "f"), _add_sub("a")),
    _stream(
        "keeps its order around errors", _add_sub("a"), _unknown("u"), _add_sub("b"), lockstep=True
    ),
    _stream("keeps its order around a failure", _add_sub("a"), _failing(4, "f"), _add_sub("b")),
    _stream("of nothing but errors", _unknown("1"), _NO_INPUTS, _unknown("2"), lockstep=True),
)

STRICT = (
    _stream("strict of nothing", metadata=_STRICT),
    _stream("strict and good", _add_sub("a"), _add_sub("b"), metadata=_STRICT),
    _stream("strict, unknown model", _unknown("u"), metadata=_STRICT),
    _stream("strict, unknown version", _add_sub("v", version="7"), metadata=_STRICT),
    _stream("strict, inputs missing", _NO_INPUTS, metadata=_STRICT),
    *(
        _stream(f"strict, model fails with code {code}", _failing(code, "f"), metadata=_STRICT)
        for code in range(1, 10)
    ),
    _stream("strict, model fails by an exception", _failing(20, "f"), metadata=_STRICT),
    _stream(
        "strict, bad after good in lockstep",
        *(_add_sub("a"), _unknown("u"), _add_sub("b")),
        lockstep=True,
        metadata=_STRICT,
    ),
    _stream(
        "strict, failure after good in lockstep",
        *(_add_sub("a"), _failing(3, "f"), _add_sub("b")),
        lockstep=True,
        metadata=_STRICT,
    ),
    _stream("strict, decoupled", _decoupled(2, "d", parameters=_EMPTY_FINAL), metadata=_STRICT),
    _stream("strict in capitals", _unknown("u"), metadata=(("triton_grpc_error", "TRUE"),)),
    _stream("strict by one", _unknown("u"), metadata=(("triton_grpc_error", "1"),)),
    _stream("strict by false", _unknown("u"), metadata=(("triton_grpc_error", "false"),)),
    _stream("strict by nothing", _unknown("u"), metadata=(("triton_grpc_error", ""),)),
)

BROKEN_STREAMS = (
    _stream("of broken bytes", b"\x0a\x7f"),
    _stream("of an empty message", b""),
    _stream("of a name not UTF-8", block(1, b"\xff")),
    _stream("broken inside an input", message("add_sub", block(2, b"\xff"), request_id="b")),
    _stream("broken after a good one in lockstep", _add_sub("a"), b"\x0a\x7f", lockstep=True),
    _stream("strict of broken bytes", b"\x0a\x7f", metadata=_STRICT),
)

# The recorded server answers these and dies a little later, so they come last.
FATAL = (
    *(
        _stream(f"strict, decoupled fails {how}", _decoupled(count, "d"), metadata=_STRICT)
        for how, count in (("in the final answer", -1), ("after an answer", -2))
    ),
)

STREAMS: tuple[GrpcRequest, ...] = (*ANSWERED, *REFUSED, *STRICT, *BROKEN_STREAMS, *FATAL)
