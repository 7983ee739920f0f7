"""Queue policies: how many may wait, how long, and what becomes of those that waited too long."""

from __future__ import annotations

from tests.scheduling.repository import model
from tests.scheduling.steps import Answered, Cancel, Scenario, Send, Sleep, Step, Wait
from tests.scheduling.table_dynamic import sends, while_held


def _policy(text: str, more: str = "") -> str:
    return f"dynamic_batching {{ {more} default_queue_policy {{ {text} }} }}"


_LEVELS = (
    "priority_levels: 2 default_priority_level: 2 "
    "priority_queue_policy { key: 1 value { max_queue_size: 1 } } "
    "priority_queue_policy { key: 2 value { timeout_action: DELAY "
    "default_timeout_microseconds: 500000 } }"
)
_OVERRIDE = "allow_timeout_override: true"
_LIMIT = "default_timeout_microseconds: 500000"
_LATE = "max_queue_delay_microseconds: 1500000"

MODELS = (
    model("queue_2", _policy("max_queue_size: 2"), batch=1),
    model("queue_2_of_4", _policy("max_queue_size: 2")),
    model("rejects", _policy(_LIMIT), batch=1),
    model("rejects_8", _policy(_LIMIT), batch=8),
    model("rejects_wide", _policy(_LIMIT, _LATE), batch=8),
    model("delays", _policy(f"timeout_action: DELAY {_LIMIT}"), batch=1),
    model("delays_wide", _policy(f"timeout_action: DELAY {_LIMIT}"), batch=4),
    model("overrides", _policy(f"default_timeout_microseconds: 2000000 {_OVERRIDE}"), batch=1),
    model("overrides_none", _policy(_OVERRIDE), batch=1),
    model("keeps", _policy("default_timeout_microseconds: 8000000"), batch=1),
    model("by_level", _policy("max_queue_size: 3", _LEVELS), batch=1),
)

_PAUSE = Sleep(800)


def _delayed(name: str, model_name: str, *steps: Step) -> Scenario:
    return Scenario(name, (model_name,), steps, server="delayed", fresh=True)


SCENARIOS = (
    Scenario("queue: two may wait", ("queue_2",), while_held(*sends(8), Sleep(100), Answered())),
    Scenario(
        "queue: two may wait, batches of four",
        ("queue_2_of_4",),
        while_held(*sends(8), Sleep(100), Answered()),
    ),
    _delayed(
        "queue: delayed, two may wait",
        "queue_2",
        *sends(5),
        Sleep(100),
        Answered(),
        Cancel("a"),
        Cancel("b"),
        Wait(("c", "d", "e")),
    ),
    Scenario(
        "queue: too long, rejected",
        ("rejects",),
        while_held(*sends(6), _PAUSE, Answered()),
    ),
    Scenario(
        "queue: too long, delayed",
        ("delays",),
        while_held(*sends(5), _PAUSE, Send("new"), Send("newer")),
    ),
    Scenario(
        "queue: too long in a batch that waits for more",
        ("rejects_wide",),
        (*sends(2), Sleep(900), Answered(), Wait()),
    ),
    Scenario(
        "queue: the request's time-out is shorter",
        ("overrides",),
        while_held(
            *sends(4),
            Send("short", timeout_us=100_000),
            Send("long", timeout_us=30_000_000),
            Send("plain"),
            Sleep(300),
        ),
    ),
    Scenario(
        "queue: the request's time-out is longer",
        ("overrides",),
        while_held(*sends(4), Send("long", timeout_us=30_000_000), Send("plain"), Sleep(2300)),
    ),
    Scenario(
        "queue: no default time-out to override",
        ("overrides_none",),
        while_held(*sends(4), Send("short", timeout_us=100_000), Sleep(300)),
    ),
    Scenario(
        "queue: the request's time-out does not count",
        ("keeps",),
        while_held(*sends(4), Send("short", timeout_us=100_000), Sleep(300)),
    ),
    Scenario(
        "queue: a policy for each level",
        ("by_level",),
        while_held(
            *sends(4),
            Send("one 1", priority=1),
            Send("two 1", priority=1),
            Send("three 2", priority=2),
            _PAUSE,
            Answered(),
        ),
    ),
    _delayed(
        "queue: delayed ones come last",
        "delays_wide",
        *sends(3),
        _PAUSE,
        Send("x"),
        Send("y"),
        Send("z"),
        Wait(),
    ),
    _delayed(
        "queue: delayed ones come last, but before lower levels",
        "by_level",
        Send("a2", priority=2),
        Send("b2", priority=2),
        _PAUSE,
        Send("c2", priority=2),
        Send("d2", priority=2),
        Send("e1", priority=1),
        Send("f1", priority=1),
        Send("g1", priority=1),
        Send("h2", priority=2),
        Wait(),
    ),
    _delayed(
        "queue: rejected when looked at",
        "rejects_8",
        *sends(3),
        _PAUSE,
        Answered(),
        Send("x"),
        Send("y"),
        Send("z"),
        Wait(),
    ),
)
