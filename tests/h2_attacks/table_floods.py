"""Floods: frames that are allowed, in numbers that serve nothing."""

from __future__ import annotations

import struct

from tests.h2_attacks.attack import Attack, Attacker, sends
from tests.h2_attacks.calls import INFER, LIVE, SLOW, STREAM, WATCH, head, infer_request, message
from tests.h2_attacks.must import Code, GoAway, Nothing, Status
from tests.h2_attacks.table_windows import INITIAL_WINDOW, LARGEST_WINDOW, setting, window
from tests.h2_attacks.wire import raw_frame

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING = 0, 1, 2, 3, 4, 6
ACK, END_STREAM, END_HEADERS = 1, 1, 4
CALM = GoAway(Code.ENHANCE_YOUR_CALM)
BURST = 200  # what goes out at once


def _flood(frame: bytes, count: int, *, opens: bool = False):
    """So many frames, or as many as are taken before the end."""

    def send(attacker: Attacker) -> None:
        wire = attacker.wire
        if opens:
            wire.open(STREAM)
        for _ in range(count // BURST):
            if not wire.send(frame * BURST):
                return

    return send


def _rapid_reset(path: str, count: int):
    """CVE-2023-44487: streams that are opened and reset at once."""

    def send(attacker: Attacker) -> None:
        wire = attacker.wire
        wire.open(path)
        block = wire.block(head(path))  # its table is made: a few bytes
        for _ in range(count // BURST):
            burst = b""
            for _ in range(BURST):
                stream = wire.take_stream()
                burst += raw_frame(HEADERS, block, flags=END_HEADERS, stream=stream)
                burst += raw_frame(RST_STREAM, struct.pack(">L", Code.CANCEL), stream=stream)
            if not wire.send(burst):
                return

    return send


def _made_you_reset(fault: bytes, *, request: bytes = b"", count: int = 50_000):
    """CVE-2025-8671: streams that the server itself has to reset. `fault` has a blank stream.

    Never more at once than are allowed, which would be another fault.
    """

    def send(attacker: Attacker) -> None:
        wire = attacker.wire
        wire.open()
        block = wire.block(head())
        for _ in range(count // BURST):
            burst = b""
            for _ in range(BURST):
                stream = wire.take_stream()
                burst += raw_frame(HEADERS, block, flags=END_HEADERS, stream=stream)
                if request:
                    burst += raw_frame(DATA, request, stream=stream)
                burst += fault[:5] + struct.pack(">L", stream) + fault[9:]
            if not wire.send(burst) or not wire.wait_over(stream):
                return

    return send


def _malformed_heads(attacker: Attacker) -> None:
    wire = attacker.wire
    malformed = head(INFER, [("X", "1")])
    wire.frame(wire.head_frame(wire.take_stream(), malformed))
    block = wire.block(malformed)
    for _ in range(50_000 // BURST):
        streams = [wire.take_stream() for _ in range(BURST)]
        burst = b"".join(
            raw_frame(HEADERS, block, flags=END_HEADERS, stream=stream) for stream in streams
        )
        if not wire.send(burst) or not wire.wait_over(streams[-1]):
            return


def _many_streams(path: str, count: int, *, content: bytes = b""):
    """All of them stay open."""

    def send(attacker: Attacker) -> None:
        wire = attacker.wire
        wire.open(path)
        block = wire.block(head(path))
        burst = b""
        for _ in range(count):
            stream = wire.take_stream()
            burst += raw_frame(HEADERS, block, flags=END_HEADERS, stream=stream)
            if content:
                burst += raw_frame(DATA, content, flags=END_STREAM, stream=stream)
        wire.send(burst)

    return send


def _one_byte_frames(attacker: Attacker) -> None:
    """A message of 20,000 bytes in as many frames: slow, but progress."""
    wire = attacker.wire
    stream = wire.open()
    request = message(infer_request((0.5,) * 5000, SLOW))
    wire.send(b"".join(raw_frame(DATA, bytes([byte]), stream=stream) for byte in request))
    wire.data(stream, b"", end=True)
    wire.wait_over(stream)
    assert wire.seen.grpc_status(stream) == 0


def _many_connections(attacker: Attacker) -> None:
    for turn in range(300):
        wire = attacker.another(greets=turn % 2 == 0)
        if turn % 3:
            wire.close()


def _pings_in_disguise(attacker: Attacker) -> None:
    """With something between them that looks like work."""
    wire = attacker.wire
    stream = wire.open(STREAM)
    pair = raw_frame(DATA, b"", stream=stream) + raw_frame(PING, bytes(8))
    for _ in range(100_000 // BURST):
        if not wire.send(pair * BURST):
            return


ATTACKS = (
    Attack("flood_of_pings", _flood(raw_frame(PING, bytes(8)), 100_000), CALM),
    Attack("flood_of_ping_answers", _flood(raw_frame(PING, bytes(8), flags=ACK), 100_000), CALM),
    Attack("flood_of_pings_in_disguise", _pings_in_disguise, CALM),
    Attack("flood_of_settings", _flood(raw_frame(SETTINGS), 100_000), CALM),
    Attack(
        "flood_of_changing_settings",
        _flood(setting(INITIAL_WINDOW, 1) + setting(INITIAL_WINDOW, 2), 50_000),
        CALM,
    ),
    Attack("flood_of_settings_at_once", sends(raw_frame(SETTINGS) * 100_000), CALM),
    Attack("flood_of_priorities", _flood(raw_frame(PRIORITY, bytes(5), stream=77), 100_000), CALM),
    Attack("flood_of_window_updates", _flood(window(1), 100_000), CALM),
    Attack("flood_of_window_updates_of_a_stream", _flood(window(1, 1), 100_000, opens=True), CALM),
    # To be ignored, in any number.
    Attack("flood_of_unknown_frames", _flood(raw_frame(0xEE, b"?"), 100_000), Nothing()),
    Attack(
        "flood_of_empty_data", _flood(raw_frame(DATA, b"", stream=1), 100_000, opens=True), CALM
    ),
    Attack(
        "flood_of_padding",
        _flood(raw_frame(DATA, b"\xff" + bytes(255), flags=8, stream=1), 50_000, opens=True),
        CALM,
    ),
    Attack("flood_of_frames_of_one_byte", _one_byte_frames, Nothing()),
    Attack("rapid_reset", _rapid_reset(INFER, 50_000), CALM, within_s=4),
    Attack("rapid_reset_of_calls_to_core", _rapid_reset(LIVE, 50_000), CALM, within_s=4),
    Attack("made_you_reset_by_windows", _made_you_reset(window(LARGEST_WINDOW)), CALM, within_s=4),
    Attack(
        "made_you_reset_with_requests",
        _made_you_reset(window(LARGEST_WINDOW), request=message(infer_request((0.0,) * 16))),
        CALM,
        within_s=4,
    ),
    # No fault of HTTP/2's: each of these is a call with an answer.
    Attack(
        "made_you_reset_by_broken_messages",
        _made_you_reset(raw_frame(DATA, b"\x02\0\0\0\0"), count=20_000),
        Nothing(),
    ),
    Attack("made_you_reset_by_heads", _malformed_heads, CALM, within_s=4),
    Attack(
        "more_streams_than_allowed",
        _many_streams(STREAM, 4100),
        GoAway(Code.PROTOCOL, Code.REFUSED_STREAM),
    ),
    # Calls to core that never end by themselves. Core takes 4096 of all clients.
    Attack(
        "more_calls_to_core_than_a_client_may_have",
        _many_streams(WATCH, 4000, content=message(b"")),
        Status(8, stream=7999),
        within_s=5,
    ),
    Attack("many_connections", _many_connections, Nothing()),
)
