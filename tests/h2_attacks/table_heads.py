"""Heads that are no heads: HPACK that cannot be decoded, heads beyond all limits, fields that
HTTP/2 or gRPC forbid.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.h2_attacks.attack import Attack, Attacker
from tests.h2_attacks.calls import (
    INFER,
    LIVE,
    Head,
    head,
    infer_request,
    message,
)
from tests.h2_attacks.must import Code, GoAway, Http, Reset, Status
from tests.h2_attacks.wire import raw_frame

HEADERS, CONTINUATION = 1, 9
END_STREAM, END_HEADERS = 1, 4
FRAME_BYTES = 16384


def _block(content: bytes):
    """An attack that is one HEADERS frame with this block."""

    def send(attacker: Attacker) -> None:
        stream = attacker.wire.take_stream()
        attacker.wire.send(raw_frame(HEADERS, content, flags=END_HEADERS, stream=stream))

    return send


def _long_block(wire, stream: int, content: bytes) -> None:
    """One block in as many frames as it takes."""
    pieces = [content[at : at + FRAME_BYTES] for at in range(0, len(content), FRAME_BYTES)]
    wire.send(
        b"".join(
            raw_frame(
                HEADERS if index == 0 else CONTINUATION,
                piece,
                flags=END_HEADERS if index == len(pieces) - 1 else 0,
                stream=stream,
            )
            for index, piece in enumerate(pieces)
        )
    )


def _fields(fields: Head, *, calls: int = 1):
    """An attack that is a whole call with this head, so often."""

    def send(attacker: Attacker) -> None:
        wire = attacker.wire
        for _ in range(calls):
            stream = wire.take_stream()
            wire.frame(wire.head_frame(stream, fields))
            wire.data(stream, message(infer_request((0.0,) * 16)), end=True)

    return send


def _more(*fields: tuple[str | bytes, str | bytes], path: str = INFER):
    return _fields(head(path, fields))


def _without(*names: str, instead: Sequence[tuple[str, str]] = ()):
    """The usual head without these fields; `instead` comes in their place, pseudo fields first."""
    return _fields([*instead, *head(without=names)])


def _many_small_fields(attacker: Attacker) -> None:
    wire = attacker.wire
    fields = [(f"x-{number}", "1") for number in range(8000)]
    _long_block(wire, wire.take_stream(), wire.block(head(INFER, fields)))


def _one_entry_over_and_over(attacker: Attacker) -> None:
    """A field of nearly the table's size, and then a byte for each time that it is repeated."""
    wire = attacker.wire
    block = wire.block(head(INFER, [("x-bomb", "b" * 3900)]))
    _long_block(wire, wire.take_stream(), block + b"\xbe" * 100_000)


def _bomb_in_trailers(attacker: Attacker) -> None:
    wire = attacker.wire
    stream = wire.open()
    wire.data(stream, message(infer_request((0.0,) * 16)))
    block = wire.block([("x-bomb", "b" * 3900)]) + b"\xbe" * 100_000
    pieces = [block[at : at + FRAME_BYTES] for at in range(0, len(block), FRAME_BYTES)]
    wire.send(raw_frame(HEADERS, pieces[0], flags=END_STREAM, stream=stream))
    for piece in pieces[1:-1]:
        wire.send(raw_frame(CONTINUATION, piece, stream=stream))
    wire.send(raw_frame(CONTINUATION, pieces[-1], flags=END_HEADERS, stream=stream))


def _huge_fields(attacker: Attacker) -> None:
    wire = attacker.wire
    fields = [(f"x-{number}", "v" * 60_000) for number in range(2)]
    _long_block(wire, wire.take_stream(), wire.block(head(INFER, fields)))


def _continuation_flood(piece: bytes, count: int):
    """A head that never ends; the first of its frames is a good one."""

    def send(attacker: Attacker) -> None:
        wire = attacker.wire
        block = wire.block(head())
        stream = wire.take_stream()
        wire.send(raw_frame(HEADERS, block, stream=stream))
        wire.send(raw_frame(CONTINUATION, piece, stream=stream) * count)

    return send


UNDECODABLE = GoAway(Code.COMPRESSION)
MALFORMED = Reset(Code.PROTOCOL)
TOO_LARGE = Status(8)
# A literal field without indexing: its name follows.
LITERAL = b"\x00"

HPACK = (
    Attack("hpack_index_0", _block(b"\x80"), UNDECODABLE),
    Attack("hpack_index_beyond_the_table", _block(b"\xbe"), UNDECODABLE),
    Attack("hpack_index_of_many_bytes", _block(b"\xff" + b"\xff" * 20 + b"\x7f"), UNDECODABLE),
    Attack("hpack_table_larger_than_allowed", _block(b"\x3f\xe2\x1f\x82"), UNDECODABLE),
    Attack("hpack_table_of_4_gib", _block(b"\x3f\xe0\xff\xff\xff\x0f"), UNDECODABLE),
    Attack("hpack_table_changed_within_a_block", _block(b"\x82\x20"), UNDECODABLE),
    Attack("hpack_string_longer_than_its_block", _block(LITERAL + b"\x7f\x80\x01abc"), UNDECODABLE),
    Attack("hpack_string_of_4_gib", _block(LITERAL + b"\x7f\x80\xff\xff\xff\x0fabc"), UNDECODABLE),
    Attack("hpack_block_cut_short", _block(LITERAL), UNDECODABLE),
    Attack(
        "hpack_huffman_with_its_end_inside",
        _block(LITERAL + b"\x01a\x84" + b"\xff" * 4),
        UNDECODABLE,
    ),
    Attack("hpack_huffman_padded_with_a_byte", _block(LITERAL + b"\x01a\x82\x1f\xff"), UNDECODABLE),
    Attack("hpack_huffman_padded_with_zeros", _block(LITERAL + b"\x01a\x81\x18"), UNDECODABLE),
)

TOO_MUCH = (
    Attack("head_of_two_huge_fields", _huge_fields, TOO_LARGE),
    Attack("head_of_many_small_fields", _many_small_fields, TOO_LARGE),
    Attack("head_that_unpacks_to_400_mib", _one_entry_over_and_over, TOO_LARGE),
    Attack("trailers_that_unpack_to_400_mib", _bomb_in_trailers, Status(0)),
    Attack(
        "head_of_60_kib_for_core",
        _more(*((f"x-{n}", "v" * 3000) for n in range(19)), path=LIVE),
        Status(0),
    ),
    Attack("path_of_60_kib", _fields(head("/" + "p" * 60_000)), Status(12)),
    Attack(
        "continuation_flood_of_nothing",
        _continuation_flood(b"", 100_000),
        GoAway(Code.ENHANCE_YOUR_CALM),
    ),
    Attack(
        "continuation_flood_of_fields",
        _continuation_flood(b"\x83" * FRAME_BYTES, 2_000),
        GoAway(Code.ENHANCE_YOUR_CALM),
    ),
)

MALFORMED_FIELDS = (
    Attack("name_in_upper_case", _more(("X-Upper", "1")), MALFORMED),
    Attack("name_empty", _more(("", "1")), MALFORMED),
    Attack("names_empty_over_and_over", _more(*[("", "")] * 500), MALFORMED),
    Attack("name_with_a_blank", _more(("x y", "1")), MALFORMED),
    Attack("name_with_a_colon", _more(("x:y", "1")), MALFORMED),
    Attack("value_with_a_line_end", _more(("x-a", "1\r\nx-b: 2")), MALFORMED),
    Attack("value_with_a_zero", _more(("x-a", b"1\x002")), MALFORMED),
    Attack("connection_specific", _more(("connection", "keep-alive")), MALFORMED),
    Attack("transfer_encoding", _more(("transfer-encoding", "chunked")), MALFORMED),
    Attack("upgrade", _more(("upgrade", "h2c")), MALFORMED),
    Attack("te_that_is_not_trailers", _without("te", instead=()), Status(0)),
    Attack("te_of_gzip", _fields([*head(without=["te"]), ("te", "gzip")]), MALFORMED),
    Attack("method_missing", _without(":method"), MALFORMED),
    Attack("scheme_missing", _without(":scheme"), MALFORMED),
    Attack("path_missing", _without(":path"), MALFORMED),
    Attack("path_empty", _without(":path", instead=[(":path", "")]), MALFORMED),
    Attack("path_relative", _without(":path", instead=[(":path", "infer")]), MALFORMED),
    Attack("path_twice", _without(instead=[(":path", INFER)]), MALFORMED),
    Attack("method_twice", _without(instead=[(":method", "POST")]), MALFORMED),
    Attack("pseudo_field_unknown", _without(instead=[(":what", "1")]), MALFORMED),
    Attack("pseudo_field_of_answers", _without(instead=[(":status", "200")]), MALFORMED),
    Attack(
        "pseudo_field_after_others",
        _fields([*head(without=[":path"]), (":path", INFER)]),
        MALFORMED,
    ),
    Attack("head_empty", _fields([]), MALFORMED),
    Attack("content_length_of_another_size", _more(("content-length", "5")), MALFORMED),
    Attack("content_length_of_no_number", _more(("content-length", "many")), MALFORMED),
    Attack(
        "content_length_twice", _more(("content-length", "5"), ("content-length", "6")), MALFORMED
    ),
    Attack(
        "malformed_heads_of_all_streams_of_a_second",
        _fields(head(INFER, [("X", "1")]), calls=500),
        MALFORMED,
    ),
)

NOT_GRPC = (
    Attack("method_of_get", _without(":method", instead=[(":method", "GET")]), Http("405")),
    Attack(
        "method_of_connect", _fields([(":method", "CONNECT"), (":authority", "x")]), Http("405")
    ),
    Attack("method_unknown", _without(":method", instead=[(":method", "BREW")]), Http("405")),
    Attack("content_type_missing", _without("content-type"), Http("415")),
    Attack(
        "content_type_of_json",
        _fields([*head(without=["content-type"]), ("content-type", "application/json")]),
        Http("415"),
    ),
    Attack(
        "content_type_of_grpc_web",
        _fields([*head(without=["content-type"]), ("content-type", "application/grpc-web+proto")]),
        Http("415"),
    ),
    Attack(
        "content_type_with_a_format",
        _fields([*head(without=["content-type"]), ("content-type", "application/grpc+proto")]),
        Status(0),
    ),
    Attack(
        "path_of_no_method", _fields(head("/inference.GRPCInferenceService/Nothing")), Status(12)
    ),
    Attack("path_of_no_service", _fields(head("/?/../..")), Status(12)),
    # As gRPC's own servers do: what is no time-out is none.
    Attack("timeout_of_no_number", _more(("grpc-timeout", "soon")), Status(0)),
    Attack("timeout_of_too_many_digits", _more(("grpc-timeout", "123456789S")), Status(0)),
    Attack("encoding_unknown", _more(("grpc-encoding", "rot13")), Status(0)),
)

ATTACKS = HPACK + TOO_MUCH + MALFORMED_FIELDS + NOT_GRPC
