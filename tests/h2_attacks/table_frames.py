"""Frames that are wrong in themselves: their length, their stream, their order, their preface."""

from __future__ import annotations

import struct

from tests.h2_attacks.attack import Attack, Attacker, sends
from tests.h2_attacks.calls import SLOW, head, infer_request, message, prefix
from tests.h2_attacks.must import Closed, Code, GoAway, Nothing, NotHttp2, Reset, Status
from tests.h2_attacks.wire import PREFACE, raw_frame

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 0x20
NO_CODE = struct.pack(">L", 0)
MAX_FRAME_BYTES = 1 << 18  # as the server's settings say


def _on_open_stream(*pieces: bytes):
    """An attack that opens stream 1 and sends these bytes."""

    def send(attacker: Attacker) -> None:
        attacker.wire.open()
        attacker.wire.send(b"".join(pieces))

    return send


def _on_half_closed_stream(piece: bytes):
    """The same, but stream 1 is a whole request that is being worked on."""

    def send(attacker: Attacker) -> None:
        stream = attacker.wire.open()
        attacker.wire.data(stream, message(infer_request((1.0,), SLOW)), end=True)
        attacker.wire.send(piece)

    return send


def _on_reset_stream(*pieces: bytes):
    def send(attacker: Attacker) -> None:
        stream = attacker.wire.open()
        reset = raw_frame(RST_STREAM, struct.pack(">L", Code.CANCEL), stream=stream)
        attacker.wire.send(reset + b"".join(pieces))

    return send


def _much_after_the_answer(attacker: Attacker) -> None:
    """More than all windows, after the call has been answered with an error."""
    stream = attacker.wire.open()
    attacker.wire.data(stream, prefix(1, flag=7))
    attacker.wire.wait_over(stream)
    for _ in range(20):
        attacker.wire.data(stream, bytes(1 << 20))


def _request(stream: int, *, flags: int = END_HEADERS, block_end: int | None = None):
    """An attack that is one HEADERS frame of a good request."""

    def send(attacker: Attacker) -> None:
        block = attacker.wire.block(head())[:block_end]
        attacker.wire.send(raw_frame(HEADERS, block, flags=flags, stream=stream))

    return send


def _unfinished_head_then(*pieces: bytes):
    def send(attacker: Attacker) -> None:
        block = attacker.wire.block(head())
        attacker.wire.send(raw_frame(HEADERS, block[:20], stream=1) + b"".join(pieces))

    return send


def _ids_going_backwards(attacker: Attacker) -> None:
    for stream in (5, 3):
        block = attacker.wire.block(head())
        attacker.wire.send(raw_frame(HEADERS, block, flags=END_HEADERS, stream=stream))


def _trailers_without_end(attacker: Attacker) -> None:
    stream = attacker.wire.open()
    block = attacker.wire.block([("x-late", "1")])
    attacker.wire.send(raw_frame(HEADERS, block, flags=END_HEADERS, stream=stream))


def _padding_within_limits(attacker: Attacker) -> None:
    """A whole call whose every frame is padded, with flags and a bit set that mean nothing."""
    block = b"\x07" + attacker.wire.block(head()) + bytes(7)
    request = b"\xff" + message(infer_request((0.0,) * 16)) + bytes(255)
    stream = 0x80000000 | attacker.wire.take_stream()
    attacker.wire.send(
        raw_frame(HEADERS, block, flags=END_HEADERS | PADDED | 0x42, stream=stream)
        + raw_frame(DATA, request, flags=END_STREAM | PADDED | 0xF2, stream=stream)
    )


WRONG_SIZE = GoAway(Code.FRAME_SIZE)
WRONG = GoAway(Code.PROTOCOL)

LENGTHS = (
    Attack("ping_of_7_bytes", sends(raw_frame(PING, bytes(7))), WRONG_SIZE),
    Attack("ping_of_9_bytes", sends(raw_frame(PING, bytes(9))), WRONG_SIZE),
    Attack("settings_of_5_bytes", sends(raw_frame(SETTINGS, bytes(5))), WRONG_SIZE),
    Attack(
        "settings_ack_with_payload", sends(raw_frame(SETTINGS, bytes(6), flags=ACK)), WRONG_SIZE
    ),
    Attack("window_update_of_3_bytes", sends(raw_frame(WINDOW_UPDATE, bytes(3))), WRONG_SIZE),
    Attack("window_update_of_5_bytes", sends(raw_frame(WINDOW_UPDATE, bytes(5))), WRONG_SIZE),
    Attack(
        "rst_stream_of_3_bytes",
        _on_open_stream(raw_frame(RST_STREAM, bytes(3), stream=1)),
        WRONG_SIZE,
    ),
    Attack(
        "rst_stream_of_5_bytes",
        _on_open_stream(raw_frame(RST_STREAM, bytes(5), stream=1)),
        WRONG_SIZE,
    ),
    # Only a stream's error for RFC 9113, which lets us take it for more.
    Attack("priority_of_4_bytes", sends(raw_frame(PRIORITY, bytes(4), stream=1)), WRONG_SIZE),
    Attack("goaway_of_7_bytes", sends(raw_frame(GOAWAY, bytes(7))), WRONG_SIZE),
    Attack(
        "headers_too_short_for_their_priority",
        sends(raw_frame(HEADERS, bytes(3), flags=END_HEADERS | WITH_PRIORITY, stream=1)),
        GoAway(Code.FRAME_SIZE, Code.PROTOCOL),
    ),
    Attack(
        "data_padded_beyond_its_end",
        _on_open_stream(raw_frame(DATA, b"\x08" + bytes(7), flags=PADDED, stream=1)),
        WRONG,
    ),
    Attack(
        "data_padded_without_a_length",
        _on_open_stream(raw_frame(DATA, b"", flags=PADDED, stream=1)),
        GoAway(Code.FRAME_SIZE, Code.PROTOCOL),
    ),
    Attack(
        "headers_padded_beyond_their_end",
        sends(raw_frame(HEADERS, b"\xff\x82", flags=END_HEADERS | PADDED, stream=1)),
        WRONG,
    ),
    Attack(
        "data_longer_than_the_largest_frame",
        _on_open_stream(raw_frame(DATA, bytes(MAX_FRAME_BYTES + 1), stream=1)),
        WRONG_SIZE,
    ),
    Attack(
        "frame_that_announces_16_mib", sends(raw_frame(PING, b"", length=(1 << 24) - 1)), WRONG_SIZE
    ),
    Attack(
        "unknown_frame_longer_than_the_largest",
        sends(raw_frame(0xEE, b"", length=MAX_FRAME_BYTES + 1)),
        WRONG_SIZE,
    ),
    Attack("padding_and_meaningless_flags", _padding_within_limits, Status(0)),
)

STREAMS = (
    Attack("data_on_stream_0", sends(raw_frame(DATA, b"x")), WRONG),
    Attack("headers_on_stream_0", _request(0), WRONG),
    Attack("priority_on_stream_0", sends(raw_frame(PRIORITY, bytes(5))), WRONG),
    Attack("rst_stream_on_stream_0", sends(raw_frame(RST_STREAM, NO_CODE)), WRONG),
    Attack(
        "continuation_on_stream_0", sends(raw_frame(CONTINUATION, b"", flags=END_HEADERS)), WRONG
    ),
    Attack("settings_on_a_stream", sends(raw_frame(SETTINGS, b"", stream=1)), WRONG),
    Attack("ping_on_a_stream", sends(raw_frame(PING, bytes(8), stream=1)), WRONG),
    Attack("goaway_on_a_stream", sends(raw_frame(GOAWAY, bytes(8), stream=1)), WRONG),
    Attack("request_on_an_even_stream", _request(2), WRONG),
    Attack(
        "request_on_a_lower_stream", _ids_going_backwards, GoAway(Code.PROTOCOL, Code.STREAM_CLOSED)
    ),
    Attack("data_on_an_idle_stream", sends(raw_frame(DATA, b"x", stream=7)), WRONG),
    Attack("rst_stream_on_an_idle_stream", sends(raw_frame(RST_STREAM, NO_CODE, stream=7)), WRONG),
    Attack(
        "window_update_on_an_idle_stream",
        sends(raw_frame(WINDOW_UPDATE, bytes([0, 0, 0, 1]), stream=7)),
        WRONG,
    ),
    Attack("priority_on_an_idle_stream", sends(raw_frame(PRIORITY, bytes(5), stream=7)), Nothing()),
    Attack(
        "priority_on_itself", sends(raw_frame(PRIORITY, bytes([0, 0, 0, 7, 0]), stream=7)), WRONG
    ),
    Attack(
        "data_after_the_end",
        _on_half_closed_stream(raw_frame(DATA, b"x", stream=1)),
        GoAway(Code.STREAM_CLOSED),
    ),
    Attack(
        "headers_after_the_end",
        _on_half_closed_stream(raw_frame(HEADERS, b"\x88", flags=END_HEADERS, stream=1)),
        GoAway(Code.STREAM_CLOSED),
    ),
    Attack(
        "data_on_a_stream_that_its_client_has_reset",
        _on_reset_stream(raw_frame(DATA, b"x", stream=1)),
        GoAway(Code.STREAM_CLOSED),
    ),
    # It may have been under way when we closed the stream: ignored, and no window is lost by it.
    Attack("data_on_a_stream_that_we_have_closed", _much_after_the_answer, Status(13)),
    Attack("trailers_without_an_end", _trailers_without_end, Reset(Code.PROTOCOL)),
)

ORDER = (
    Attack(
        "push_promise_of_a_client",
        _on_open_stream(
            raw_frame(PUSH_PROMISE, struct.pack(">L", 2) + b"\x82", flags=END_HEADERS, stream=1)
        ),
        WRONG,
    ),
    Attack(
        "continuation_of_nothing",
        _on_open_stream(raw_frame(CONTINUATION, b"\x82", flags=END_HEADERS, stream=1)),
        WRONG,
    ),
    Attack(
        "head_interrupted_by_data", _unfinished_head_then(raw_frame(DATA, b"x", stream=1)), WRONG
    ),
    Attack("head_interrupted_by_a_ping", _unfinished_head_then(raw_frame(PING, bytes(8))), WRONG),
    Attack(
        "head_interrupted_by_an_unknown_frame", _unfinished_head_then(raw_frame(0xEE, b"x")), WRONG
    ),
    Attack(
        "head_continued_on_another_stream",
        _unfinished_head_then(raw_frame(CONTINUATION, b"", flags=END_HEADERS, stream=3)),
        WRONG,
    ),
    Attack(
        "unknown_frames",
        _on_open_stream(
            raw_frame(0xEE, b"what", flags=0xFF),
            raw_frame(0x10, bytes(300), stream=1),
            raw_frame(0xFE, b"", stream=99),
        ),
        Nothing(),
    ),
    Attack(
        "unknown_setting",
        sends(raw_frame(SETTINGS, struct.pack(">HLHL", 0xFFFF, 7, 0, 1))),
        Nothing(),
    ),
    Attack("settings_ack_of_nothing", sends(raw_frame(SETTINGS, b"", flags=ACK)), WRONG),
    Attack("ping_answer_to_nothing", sends(raw_frame(PING, bytes(8), flags=ACK) * 3), Nothing()),
)

PREFACES = (
    Attack("preface_garbled", sends(PREFACE[:-6] + b"XX\r\n\r\n"), NotHttp2(), greets=False),
    Attack("preface_missing", sends(raw_frame(SETTINGS)), NotHttp2(), greets=False),
    Attack(
        "preface_of_tls",
        sends(bytes.fromhex("16030100c8010000c40303"), bytes(200)),
        NotHttp2(),
        greets=False,
    ),
    Attack("preface_cut_short", sends(PREFACE[:11]), Closed(), greets=False, within_s=4),
    Attack("preface_then_a_ping", sends(PREFACE, raw_frame(PING, bytes(8))), WRONG, greets=False),
    Attack(
        "preface_then_an_http1_request",
        sends(PREFACE, b"GET /v2/health/live HTTP/1.1\r\n\r\n"),
        GoAway(Code.FRAME_SIZE, Code.PROTOCOL),
        greets=False,
    ),
    Attack(
        "preface_twice",
        sends(PREFACE, raw_frame(SETTINGS), PREFACE),
        GoAway(Code.FRAME_SIZE, Code.PROTOCOL),
        greets=False,
    ),
)

ATTACKS = LENGTHS + STREAMS + ORDER + PREFACES
