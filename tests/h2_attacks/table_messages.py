"""gRPC's messages: prefixes that lie, bytes that are none, bombs, calls that end too early."""

from __future__ import annotations

import functools
import gzip
import zlib

from tests.h2_attacks.attack import MIB, Attack, Attacker
from tests.h2_attacks.calls import (
    INFER,
    LIVE,
    SLOW,
    STREAM,
    WATCH,
    infer_request,
    message,
    prefix,
    sized_request,
)
from tests.h2_attacks.must import Closed, Code, Nothing, Reset, Status
from tests.h2_attacks.wire import data_frames, raw_frame

HEADERS, RST_STREAM, GOAWAY = 1, 3, 7
END_STREAM, END_HEADERS = 1, 4
GOOD = message(infer_request((0.0,) * 16))
SLOWLY = message(infer_request((1.0,), SLOW))
GZIP = (("grpc-encoding", "gzip"),)
DEFLATE = (("grpc-encoding", "deflate"),)


def _call(*pieces: bytes, path: str = INFER, fields=(), end: bool = True):
    """An attack that is one call with these bytes."""

    def send(attacker: Attacker) -> None:
        stream = attacker.wire.open(path, fields=fields)
        attacker.wire.data(stream, b"".join(pieces), end=end)

    return send


@functools.cache
def _bomb(wbits: int) -> bytes:
    """4 GiB of zeros in 4 MiB. Behind a full flush a block stands for itself, so one is enough."""
    packer = zlib.compressobj(9, wbits=wbits)
    first, second = (
        packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    return message(first + second * 4095 + packer.flush(), flag=1)


def _bombs(path: str, fields, wbits: int = 31, *, calls: int = 1):
    def send(attacker: Attacker) -> None:
        for _ in range(calls):
            stream = attacker.wire.open(path, fields=fields)
            attacker.wire.data(stream, _bomb(wbits), end=True)

    return send


def _long_message_for_core(attacker: Attacker) -> None:
    """What no method of core's asks for; the server need not take it all."""
    stream = attacker.wire.open(LIVE)
    attacker.wire.data(stream, prefix(200 * MIB))
    piece = data_frames(stream, bytes(MIB))
    for _ in range(200):
        if attacker.wire.seen.over(stream):
            return
        attacker.wire.send(piece)


def _many_messages_for_core(attacker: Attacker) -> None:
    """A unary method gets messages without an end, as many as its window lets through."""
    stream = attacker.wire.open(LIVE)
    # (The window has 1 MiB. More would be a fault of flow control whenever core is the slower one.)
    attacker.wire.data(stream, message(b"") * (MIB // len(message(b""))))


def _trailers_of_a_client(attacker: Attacker) -> None:
    wire = attacker.wire
    stream = wire.open()
    wire.data(stream, GOOD)
    block = wire.block([("x-late", "1")])
    wire.send(raw_frame(HEADERS, block, flags=END_HEADERS | END_STREAM, stream=stream))


def _pseudo_field_in_trailers(attacker: Attacker) -> None:
    wire = attacker.wire
    stream = wire.open()
    wire.data(stream, SLOWLY)
    block = wire.block([(":path", "/")])
    wire.send(raw_frame(HEADERS, block, flags=END_HEADERS | END_STREAM, stream=stream))


def _goaway_in_mid_call(attacker: Attacker) -> None:
    """What is under way is still answered; then the connection ends."""
    wire = attacker.wire
    stream = wire.open()
    wire.data(stream, SLOWLY, end=True)
    wire.send(raw_frame(GOAWAY, bytes(8) + b"farewell"))
    wire.wait_over(stream)
    assert wire.seen.grpc_status(stream) == 0


def _leave_in_mid_call(attacker: Attacker) -> None:
    """Connections that vanish with requests under way, half sent, and half answered."""
    for turn in range(60):
        wire = attacker.another()
        stream = wire.open(STREAM if turn % 2 else INFER)
        whole = message(sized_request(MIB))
        wire.data(stream, [SLOWLY, whole[: len(whole) // 2], whole][turn % 3])
        wire.open(LIVE)
        wire.open(WATCH)
        wire.close()


def _reset_in_mid_message(attacker: Attacker) -> None:
    wire = attacker.wire
    for _ in range(300):
        stream = wire.open()
        wire.data(stream, message(b"", announced=MIB) + bytes(60_000))
        wire.send(raw_frame(RST_STREAM, bytes([0, 0, 0, Code.CANCEL]), stream=stream))


def _reset_with_requests_under_way(attacker: Attacker) -> None:
    """The model would work for five minutes on what nobody waits for any more."""
    wire = attacker.wire
    for _ in range(1000):
        stream = wire.open()
        wire.data(stream, SLOWLY, end=True)
        wire.send(raw_frame(RST_STREAM, bytes([0, 0, 0, Code.CANCEL]), stream=stream))


TOO_LONG = Status(8)
BROKEN = Status(13)

LIES = (
    Attack("flag_of_2", _call(b"\x02" + GOOD[1:]), BROKEN),
    Attack("flag_of_255_in_a_stream", _call(GOOD, b"\xff" + GOOD[1:], path=STREAM), BROKEN),
    Attack("compressed_without_an_encoding", _call(b"\x01" + GOOD[1:]), BROKEN),
    Attack(
        "compressed_in_an_unknown_way",
        _call(b"\x01" + GOOD[1:], fields=[("grpc-encoding", "rot13")]),
        Status(12),
    ),
    Attack("compressed_but_is_not", _call(b"\x01" + GOOD[1:], fields=GZIP), Status(8)),
    Attack(
        "compressed_and_cut_short",
        _call(message(gzip.compress(GOOD[5:])[:-9], flag=1), fields=GZIP),
        Status(3),
    ),
    Attack(
        "compressed_with_more_behind",
        _call(message(gzip.compress(GOOD[5:]) + b"more", flag=1), fields=GZIP),
        Status(8),
    ),
    Attack("announced_4_gib", _call(prefix((1 << 32) - 1)), TOO_LONG),
    Attack("announced_more_than_all_memory", _call(prefix(300 * MIB)), TOO_LONG),
    Attack("announced_more_than_comes", _call(message(GOOD[5:], announced=len(GOOD))), BROKEN),
    Attack("announced_more_than_comes_in_a_stream", _call(GOOD, GOOD[:-1], path=STREAM), BROKEN),
    Attack("announced_less_than_comes", _call(message(GOOD[5:], announced=20)), BROKEN),
    Attack("a_byte_behind_the_message", _call(SLOWLY, b"\x00"), BROKEN),
    Attack("two_messages_for_one_answer", _call(SLOWLY, SLOWLY), Status(12)),
    Attack("prefix_cut_short", _call(GOOD[:3]), BROKEN),
    Attack("no_message", _call(b""), BROKEN),
    Attack("no_message_and_no_data", lambda attacker: attacker.wire.open(end=True), BROKEN),
    Attack("no_message_in_a_stream", _call(b"", path=STREAM), Status(0)),
    Attack("message_of_no_bytes", _call(prefix(0)), Status(5)),
    Attack("messages_of_no_bytes_in_a_stream", _call(prefix(0) * 500, path=STREAM), Status(0)),
    Attack("message_of_noise", _call(message(b"\xff" * 50)), BROKEN),
    Attack("no_message_for_core", _call(b"", path=LIVE), BROKEN),
    Attack("message_of_noise_for_core", _call(message(b"\xff" * 50), path=LIVE), BROKEN),
)

BOMB_BYTES = 256 * MIB
BOMBS = (
    # Of 4 MiB that come, at most 32 times as many are made, and a growing message is moved.
    Attack("gzip_bomb_of_4_gib", _bombs(INFER, GZIP), TOO_LONG, within_s=5, peak_bytes=BOMB_BYTES),
    Attack(
        "deflate_bomb_of_4_gib",
        _bombs(STREAM, DEFLATE, 15),
        TOO_LONG,
        within_s=5,
        peak_bytes=BOMB_BYTES,
    ),
    Attack(
        "eight_bombs_on_one_connection",
        _bombs(INFER, GZIP, calls=8),
        TOO_LONG,
        within_s=10,
        peak_bytes=BOMB_BYTES,
    ),
    Attack("gzip_bomb_of_4_gib_for_core", _bombs(LIVE, GZIP), TOO_LONG, within_s=5),
    Attack("message_of_200_mib_for_core", _long_message_for_core, TOO_LONG, within_s=5),
    Attack("messages_without_end_for_core", _many_messages_for_core, Status(0), within_s=5),
)

ENDS = (
    Attack("trailers_of_a_client", _trailers_of_a_client, Status(0)),
    Attack("pseudo_field_in_trailers", _pseudo_field_in_trailers, Reset(Code.PROTOCOL)),
    Attack("goaway_in_mid_call", _goaway_in_mid_call, Closed()),
    Attack("connections_that_vanish_in_mid_call", _leave_in_mid_call, Nothing()),
    Attack("resets_in_mid_message", _reset_in_mid_message, Nothing()),
    Attack("resets_with_requests_under_way", _reset_with_requests_under_way, Nothing()),
)

ATTACKS = LIES + BOMBS + ENDS
