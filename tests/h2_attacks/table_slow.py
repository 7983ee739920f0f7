"""Clients that take their time: half a head, half a message, a byte now and then, nothing read."""

from __future__ import annotations

import time

from tests.h2_attacks.attack import MIB, Attack, Attacker, sends
from tests.h2_attacks.calls import (
    INFER,
    LIVE,
    STREAM,
    head,
    infer_request,
    message,
    prefix,
    sized_request,
)
from tests.h2_attacks.must import Closed, Code, GoAway, Reset, Status
from tests.h2_attacks.table_windows import INITIAL_WINDOW, setting, window
from tests.h2_attacks.wire import Wire, data_frames, raw_frame

DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
TRICKLE_EVERY_S = 0.1
TRICKLE_FOR_S = 6.0


def _trickle(wire: Wire, piece: bytes, stream: int) -> None:
    """`piece` again and again, until the server has had enough of the stream."""
    end_s = time.monotonic() + TRICKLE_FOR_S
    while time.monotonic() < end_s and not wire.seen.over(stream):
        wire.send(piece)
        wire.receive(lambda: wire.seen.over(stream), timeout_s=TRICKLE_EVERY_S)


def _half_a_head(attacker: Attacker) -> None:
    wire = attacker.wire
    wire.send(raw_frame(HEADERS, wire.block(head()), stream=wire.take_stream()))


def _head_in_trickles(attacker: Attacker) -> None:
    """One frame, a byte now and then."""
    wire = attacker.wire
    stream = wire.take_stream()
    wire.send(raw_frame(HEADERS, b"", flags=4, stream=stream, length=5000))
    _trickle(wire, b"\x90", stream)  # "accept-encoding", of the static table


def _call(content: bytes, path: str = INFER):
    def send(attacker: Attacker) -> None:
        stream = attacker.wire.open(path)
        if content:
            attacker.wire.data(stream, content)

    return send


def _message_in_trickles(path: str):
    def send(attacker: Attacker) -> None:
        stream = attacker.wire.open(path)
        attacker.wire.data(stream, prefix(1000) + b"x")
        _trickle(attacker.wire, raw_frame(DATA, b"x", stream=stream), stream)

    return send


def _many_long_messages(attacker: Attacker) -> None:
    """Announced in full, sent by a hundredth: what is announced must not be what is held."""
    for index in range(8):
        wire = attacker.wire if index == 0 else attacker.another()
        for _ in range(4):
            stream = wire.open()
            wire.data(stream, prefix(100 * MIB) + bytes(MIB))
    _trickle(attacker.wire, raw_frame(DATA, b"x", stream=1), 1)


def _unread_answers(attacker: Attacker) -> None:
    """Nothing may be sent to this client, and it asks for much."""
    wire = attacker.wire
    wire.send(setting(INITIAL_WINDOW, 0))
    for _ in range(30):
        stream = wire.open()
        wire.data(stream, message(sized_request(MIB)), end=True)


def _answers_by_the_byte(attacker: Attacker) -> None:
    """The window opens for one byte at a time."""
    wire = attacker.wire
    wire.send(setting(INITIAL_WINDOW, 0))
    stream = wire.open()
    wire.data(stream, message(sized_request(MIB)), end=True)
    _trickle(wire, window(1, stream), stream)


def _unread_socket(attacker: Attacker) -> None:
    """It opens every window, and takes nothing from its socket."""
    wire = attacker.wire
    wire.send(setting(INITIAL_WINDOW, 1 << 30) + window(1 << 30))
    for _ in range(12):
        opening = wire.head_frame(stream := wire.take_stream(), head()).serialize()
        content = data_frames(stream, message(sized_request(2 * MIB)), end=True)
        if not wire.send(opening + content, reading=False, timeout_s=TRICKLE_FOR_S):
            return
    wire.wait_dead(timeout_s=TRICKLE_FOR_S)


def _unread_control_frames(frame: bytes):
    """Each frame asks for an answer; none of them is read."""

    def send(attacker: Attacker) -> None:
        wire = attacker.wire
        wire.send(frame * 400_000, reading=False, timeout_s=4)

    return send


def _stream_that_waits(attacker: Attacker) -> None:
    """ModelStreamInfer between two requests may be as quiet as it likes."""
    wire = attacker.wire
    stream = wire.open(STREAM)
    wire.data(stream, message(infer_request((0.0,) * 16)))
    wire.receive(lambda: False, timeout_s=2.5)
    wire.data(stream, message(infer_request((0.0,) * 16)), end=True)


TIMED_OUT = Status(4)

ATTACKS = (
    Attack("half_a_head", _half_a_head, GoAway(Code.ENHANCE_YOUR_CALM), within_s=4),
    Attack("head_in_trickles", _head_in_trickles, GoAway(Code.ENHANCE_YOUR_CALM), within_s=4),
    Attack("half_a_frame_head", sends(b"\0\0"), Closed(), within_s=6),
    Attack("half_a_ping", sends(raw_frame(PING, b"1234", length=8)), Closed(), within_s=6),
    Attack("connection_without_calls", sends(b""), Closed(), within_s=6),
    Attack("call_without_a_message", _call(b""), TIMED_OUT, within_s=4),
    Attack("call_with_half_a_prefix", _call(b"\0\0"), TIMED_OUT, within_s=4),
    Attack("call_with_half_a_message", _call(prefix(MIB) + bytes(9)), TIMED_OUT, within_s=4),
    Attack("call_to_core_without_a_message", _call(b"", LIVE), TIMED_OUT, within_s=4),
    Attack(
        "call_to_core_with_half_a_message",
        _call(prefix(100) + bytes(9), LIVE),
        TIMED_OUT,
        within_s=4,
    ),
    Attack("message_in_trickles", _message_in_trickles(INFER), TIMED_OUT),
    Attack("message_in_trickles_in_a_stream", _message_in_trickles(STREAM), TIMED_OUT),
    Attack("message_in_trickles_for_core", _message_in_trickles(LIVE), TIMED_OUT),
    Attack(
        "many_long_messages_that_never_end", _many_long_messages, TIMED_OUT, peak_bytes=160 * MIB
    ),
    Attack("stream_that_waits_between_requests", _stream_that_waits, Status(0)),
    Attack(
        "answers_that_may_not_be_sent",
        _unread_answers,
        Reset(Code.CANCEL, survives=False),
        within_s=4,
        peak_bytes=256 * MIB,
    ),
    Attack(
        "answers_taken_by_the_byte",
        _answers_by_the_byte,
        Reset(Code.CANCEL, survives=False),
        within_s=4,
    ),
    Attack(
        "answers_left_in_the_socket", _unread_socket, Closed(), within_s=6, peak_bytes=256 * MIB
    ),
    Attack(
        "pings_whose_answers_are_left",
        _unread_control_frames(raw_frame(PING, bytes(8))),
        GoAway(Code.ENHANCE_YOUR_CALM),
        within_s=4,
    ),
    Attack(
        "settings_whose_answers_are_left",
        _unread_control_frames(raw_frame(SETTINGS)),
        GoAway(Code.ENHANCE_YOUR_CALM),
        within_s=4,
    ),
)
