"""Settings and windows: values that are not allowed, and windows that are overrun."""

from __future__ import annotations

import struct

from tests.h2_attacks.attack import Attack, Attacker, sends
from tests.h2_attacks.calls import SLOW, STREAM, infer_request, message
from tests.h2_attacks.must import Code, GoAway, Nothing, Reset, Status
from tests.h2_attacks.wire import raw_frame

SETTINGS, WINDOW_UPDATE = 4, 8
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEAD = range(1, 7)
LARGEST_WINDOW = (1 << 31) - 1
MAX_UNDER_WAY = 1024  # requests of one ModelStreamInfer; more are not read
STREAM_WINDOW_BYTES = 1 << 20


def setting(name: int, value: int) -> bytes:
    return raw_frame(SETTINGS, struct.pack(">HL", name, value))


def window(grant: int, stream: int = 0) -> bytes:
    return raw_frame(WINDOW_UPDATE, struct.pack(">L", grant), stream=stream)


def _on_open_stream(*pieces: bytes):
    def send(attacker: Attacker) -> None:
        attacker.wire.open()
        attacker.wire.send(b"".join(pieces))

    return send


def _past_the_window(attacker: Attacker) -> None:
    """Fills a call until the server takes no more of it, and then goes on for two windows."""
    wire = attacker.wire
    stream = wire.open(STREAM)
    wire.data(stream, message(infer_request((1.0,), SLOW)) * (MAX_UNDER_WAY + 1))
    wire.data(stream, bytes(2 * STREAM_WINDOW_BYTES))


def _table_that_comes_and_goes(attacker: Attacker) -> None:
    """The server's encoder must keep its table small, whatever the client offers."""
    wire = attacker.wire
    for size in (0, (1 << 32) - 1) * 50:
        wire.send(setting(HEADER_TABLE_SIZE, size))
        assert wire.call_works()


def _window_of_many_streams(attacker: Attacker) -> None:
    """Each change is work for every open stream."""
    wire = attacker.wire
    for _ in range(2000):
        wire.open()
    for turn in range(500):
        wire.send(setting(INITIAL_WINDOW, 1000 + turn % 2))


FLOW = GoAway(Code.FLOW_CONTROL)
WRONG = GoAway(Code.PROTOCOL)

ATTACKS = (
    Attack(
        "setting_of_a_window_too_large", sends(setting(INITIAL_WINDOW, LARGEST_WINDOW + 1)), FLOW
    ),
    Attack("setting_of_a_frame_too_small", sends(setting(MAX_FRAME, 16383)), WRONG),
    Attack("setting_of_a_frame_too_large", sends(setting(MAX_FRAME, 1 << 24)), WRONG),
    Attack("setting_of_push_2", sends(setting(ENABLE_PUSH, 2)), WRONG),
    Attack(
        "setting_of_no_streams_and_no_heads",
        sends(setting(MAX_STREAMS, 0), setting(MAX_HEAD, 0)),
        Nothing(),
    ),
    Attack(
        "settings_of_1000_entries",
        sends(raw_frame(SETTINGS, struct.pack(">HL", INITIAL_WINDOW, 65535) * 1000)),
        GoAway(Code.ENHANCE_YOUR_CALM),
    ),
    Attack("setting_of_a_table_that_comes_and_goes", _table_that_comes_and_goes, Status(0)),
    Attack(
        "setting_of_a_window_with_many_streams",
        _window_of_many_streams,
        Status(4, stream=1),
        within_s=6,
    ),
    # Only a stream's error for RFC 9113, which lets us take it for more.
    Attack("window_update_of_0", _on_open_stream(window(0, 1)), WRONG),
    Attack("window_update_of_0_for_all", sends(window(0)), WRONG),
    Attack("window_overflow", _on_open_stream(window(LARGEST_WINDOW, 1)), Reset(Code.FLOW_CONTROL)),
    Attack("window_overflow_for_all", sends(window(LARGEST_WINDOW)), FLOW),
    # For RFC 9113 the connection's error; nghttp2 ends the streams whose windows are too large.
    Attack(
        "window_overflow_by_a_setting",
        _on_open_stream(window(LARGEST_WINDOW - 65535, 1), setting(INITIAL_WINDOW, 65536)),
        Reset(Code.FLOW_CONTROL),
    ),
    Attack("data_past_the_window", _past_the_window, Reset(Code.FLOW_CONTROL), within_s=5),
)
