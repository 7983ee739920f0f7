"""Sequence batching: slots and null requests, candidates, backlog, idle sequences, iterations."""

from __future__ import annotations

from typing import Any

from tests.scheduling.repository import model, tensors
from tests.scheduling.steps import Answered, Cancel, Held, Open, Scenario, Send, Sleep, Step, Wait

_PAIRS = {
    "INT32": "int32_false_true: [ 0, 1 ]",
    "FP32": "fp32_false_true: [ 2, 3 ]",
    "BOOL": "bool_false_true: [ false, true ]",
}


def control(name: str, datatype: str) -> str:
    """A control input of that kind, named as its kind."""
    what = f"data_type: TYPE_{datatype}" if name == "CORRID" else _PAIRS[datatype]
    return f'{{ name: "{name}" control [ {{ kind: CONTROL_SEQUENCE_{name} {what} }} ] }}'


def sequences(
    strategy: str,
    corrid: str = "UINT64",
    pair: str = "INT32",
    idle_us: int = 10_000_000,
    more: str = "",
) -> str:
    """The sequence_batching of a config, with all four controls."""
    pairs = [control(name, pair) for name in ("START", "READY", "END")]
    return (
        f"sequence_batching {{ max_sequence_idle_microseconds: {idle_us} {strategy} {more} "
        f"control_input [ {', '.join([*pairs, control('CORRID', corrid)])} ] }}"
    )


DIRECT = "direct { }"


def _oldest(candidates: int, more: str = "") -> str:
    return f"oldest {{ max_candidate_sequences: {candidates} {more} }}"


def _lone_start(strategy: str) -> str:
    return f"sequence_batching {{ {strategy} control_input [ {control('START', 'INT32')} ] }}"


MODELS = (
    model("slots_3", sequences(DIRECT), batch=3),
    model("slots_2", sequences(DIRECT, pair="FP32"), batch=2),
    model("slots_2_by_2", sequences(DIRECT, pair="BOOL"), batch=2, instances=2),
    model("slot_without_batch", sequences(DIRECT), batch=0),
    model("slot_with_start", _lone_start(DIRECT), batch=2),
    model("idle", sequences(DIRECT, idle_us=300_000), batch=1),
    model(
        "utilized",
        sequences("direct { max_queue_delay_microseconds: 700000 minimum_slot_utilization: 0.75 }"),
    ),
    model("candidates_2", sequences(_oldest(2)), batch=4),
    model("candidates_4", sequences(_oldest(4)), batch=4),
    model(
        "candidates_8",
        sequences(_oldest(8, "preferred_batch_size: [ 2 ]")),
        batch=4,
    ),
    model(
        "candidates_late",
        sequences(_oldest(8, "preferred_batch_size: [ 3 ] max_queue_delay_microseconds: 700000")),
        batch=4,
    ),
    model("candidates_idle", sequences(_oldest(1), idle_us=300_000), batch=2),
    model(
        "iterates",
        f"sequence_batching {{ iterative_sequence: true "
        f"control_input [ {control('START', 'INT32')} ] }}",
        batch=2,
        program="iterative",
        tensors=tensors("X:INT32:1", "OUT:INT32:1"),
    ),
    model(
        "iterates_oldest",
        f"sequence_batching {{ iterative_sequence: true {_oldest(4)} "
        f"control_input [ {control('START', 'INT32')} ] }}",
        batch=4,
        program="iterative",
        tensors=tensors("X:INT32:1", "OUT:INT32:1"),
    ),
)


def first(sequence: int | str, name: str = "", **more: Any) -> Send:
    return Send(name or f"{sequence} starts", sequence=sequence, start=True, **more)


def next_of(sequence: int | str, name: str = "", **more: Any) -> Send:
    return Send(name or f"{sequence} goes on", sequence=sequence, **more)


def last(sequence: int | str, name: str = "", **more: Any) -> Send:
    return Send(name or f"{sequence} ends", sequence=sequence, end=True, **more)


def only(sequence: int | str, name: str = "", **more: Any) -> Send:
    return Send(name or f"{sequence} at once", sequence=sequence, start=True, end=True, **more)


def held_by(sequence: int, *steps: Step) -> tuple[Step, ...]:
    """The steps, while the start of a sequence holds the only instance."""
    return (first(sequence, "hold"), Held(), *steps, Open(), Wait())


_ONE = (first(1, wait=True), next_of(1, wait=True), last(1, wait=True))
_WIDE = {"X": [[1, 1]]}


def _backlog(model_name: str) -> tuple[Step, ...]:
    """More sequences than there are slots or candidates (two); one ends, then the other."""
    return (
        first(1, wait=True),
        first(2, wait=True),
        first(3),
        next_of(3),
        first(4),
        Sleep(100),
        Answered(),
        last(2, wait=True),
        Sleep(200),
        Answered(),
        last(3, wait=True),
        Wait(),
        last(4, wait=True),
        last(1, wait=True),
    )


_DIRECT = (
    Scenario("direct: controls of one sequence", ("slots_3",), _ONE),
    Scenario("direct: controls as floats", ("slots_2",), _ONE),
    Scenario("direct: controls as booleans", ("slots_2_by_2",), _ONE),
    Scenario(
        "direct: controls without batching",
        ("slot_without_batch",),
        (
            first(1, flat=True, wait=True),
            next_of(1, flat=True, wait=True),
            last(1, flat=True, wait=True),
            only(2, flat=True, wait=True),
        ),
    ),
    Scenario("direct: only START is asked for", ("slot_with_start",), _ONE),
    Scenario(
        "direct: empty slots before the last are null requests",
        ("slots_3",),
        (
            *held_by(1, first(2), first(3), Open(), Wait(), last(3, wait=True), last(2, wait=True)),
            last(1, wait=True),
        ),
    ),
    Scenario(
        "direct: requests of one sequence never share a batch",
        ("slots_3",),
        held_by(1, next_of(1, "b"), next_of(1, "c"), first(2, "d"), last(1, "e"), last(2, "f")),
    ),
    Scenario(
        "direct: unequal shapes do not share a batch",
        ("slots_3",),
        held_by(1, last(1, inputs=_WIDE), only(2), only(3, inputs=_WIDE)),
    ),
    Scenario("direct: backlog", ("slots_2",), _backlog("slots_2")),
    Scenario(
        "direct: a slot that is given up is filled at once",
        ("slots_2",),
        held_by(1, only(2), only(3), only(4), last(1)),
    ),
    Scenario(
        "direct: slots of two instances",
        ("slots_2_by_2",),
        (
            *tuple(first(sequence, wait=True) for sequence in (1, 2, 3, 4)),
            first(5),
            Sleep(100),
            Answered(),
            last(2, wait=True),
            Sleep(200),
            Answered(),
            *tuple(last(sequence, wait=True) for sequence in (5, 1, 3, 4)),
        ),
        instances=True,
        fresh=True,
    ),
    Scenario(
        "direct: full enough",
        ("utilized",),
        (*(only(sequence) for sequence in (1, 2, 3)), Sleep(200), Answered(), Wait()),
        fresh=True,
    ),
    Scenario(
        "direct: not full enough, but late",
        ("utilized",),
        (*(only(sequence) for sequence in (1, 2)), Sleep(200), Answered(), Wait()),
        fresh=True,
    ),
    Scenario(
        "direct: idle too long",
        ("idle",),
        (first(1, wait=True), Sleep(1500), next_of(1, wait=True), only(2, wait=True)),
    ),
    Scenario(
        "direct: an idle sequence makes room",
        ("idle",),
        (
            first(1, wait=True),
            first(2),
            Sleep(100),
            Answered(),
            Sleep(1500),
            Answered(),
            last(2, wait=True),
        ),
    ),
    Scenario(
        "direct: timed out in the backlog",
        ("slot_without_batch",),
        (
            first(1, flat=True, wait=True),
            first(2, flat=True, timeout_us=200_000),
            next_of(2, flat=True),
            Sleep(1500),
            Answered(),
            next_of(2, "2 later", flat=True, wait=True),
            last(1, flat=True, wait=True),
        ),
    ),
    Scenario(
        "direct: a time-out on the second request in the backlog",
        ("slot_without_batch",),
        (
            first(1, flat=True, wait=True),
            first(2, flat=True),
            next_of(2, flat=True, timeout_us=200_000),
            Sleep(1500),
            Answered(),
            last(1, flat=True, wait=True),
        ),
    ),
    Scenario(
        "direct: a failing request does not end its sequence",
        ("slots_3",),
        (
            first(1, "start fail", wait=True),
            next_of(1, "raise", wait=True),
            next_of(1, wait=True),
            last(1, wait=True),
        ),
    ),
    Scenario(
        "direct: cancelled in its slot",
        ("slots_3",),
        (
            *held_by(1, next_of(1, "b"), next_of(1, "c"), Cancel("b"), Sleep(100), Answered()),
            next_of(1, "later", wait=True),
        ),
    ),
)

_OLDEST = (
    Scenario("oldest: controls of one sequence", ("candidates_4",), _ONE),
    Scenario(
        "oldest: sequences share a batch",
        ("candidates_4",),
        held_by(1, only(2), only(3), only(4), last(1)),
    ),
    Scenario(
        "oldest: requests of one sequence never share a batch",
        ("candidates_4",),
        held_by(1, first(2), next_of(2), last(2), first(3), last(3), last(1)),
    ),
    Scenario(
        "oldest: no more candidates than allowed",
        ("candidates_2",),
        held_by(1, only(2), only(3), only(4), last(1)),
    ),
    Scenario("oldest: backlog", ("candidates_2",), _backlog("candidates_2")),
    Scenario(
        "oldest: preferred size",
        ("candidates_8",),
        held_by(1, *(only(sequence) for sequence in (2, 3, 4, 5, 6)), last(1)),
    ),
    Scenario(
        "oldest: delay for a preferred size",
        ("candidates_late",),
        (only(1), only(2), Sleep(200), Answered(), only(3), Sleep(200), Answered(), Wait()),
    ),
    Scenario(
        "oldest: delay, and it does not fill",
        ("candidates_late",),
        (only(1), only(2), Sleep(200), Answered(), Wait()),
    ),
    Scenario(
        "oldest: unequal shapes do not share a batch",
        ("candidates_4",),
        held_by(1, only(2, inputs=_WIDE), only(3), last(1, inputs=_WIDE)),
    ),
    Scenario(
        "oldest: idle too long",
        ("candidates_idle",),
        (first(1, wait=True), Sleep(1500), next_of(1, wait=True), only(2, wait=True)),
    ),
    Scenario(
        "oldest: cancelled while it waits",
        ("candidates_4",),
        (
            *held_by(1, first(2), next_of(2), Cancel("2 starts"), Sleep(100), Answered(), only(3)),
            next_of(2, "2 later", wait=True),
            last(1, wait=True),
        ),
    ),
)

_ITERATIVE = (
    Scenario(
        "iterative: comes back until it is done",
        ("iterates",),
        (
            Send("three", inputs={"X": [[3]]}, wait=True),
            Send("one", inputs={"X": [[1]]}, wait=True),
        ),
    ),
    Scenario(
        "iterative: oldest, comes back until it is done",
        ("iterates_oldest",),
        (
            Send("three", inputs={"X": [[3]]}, wait=True),
            Send("one", inputs={"X": [[1]]}, wait=True),
        ),
    ),
    Scenario(
        "iterative: with an id of the client's",
        ("iterates",),
        (first(5, inputs={"X": [[2]]}, wait=True),),
    ),
)


def _queued(name: str, model_name: str, *steps: Step, server: str = "delayed") -> Scenario:
    return Scenario(name, (model_name,), steps, server=server, fresh=True)


_DELAYED = (
    _queued(
        "delayed: sequences in their slots",
        "slots_3",
        *(first(1), next_of(1), first(2), last(1), last(2), only(3), Wait()),
    ),
    _queued(
        "backlogged: sequences in slots and in the backlog",
        "slots_2",
        *(first(1), next_of(1), last(1), first(2), next_of(2), last(2), only(3), only(4), Wait()),
        server="backlogged",
    ),
    _queued(
        "backlogged: sequences of two requests in the backlog",
        "slots_2",
        *(first(1), next_of(1), next_of(1, "more"), last(1), first(2), last(2)),
        *(first(3), last(3), first(4), last(4), Wait()),
        server="backlogged",
    ),
)

SCENARIOS = (*_DIRECT, *_OLDEST, *_ITERATIVE, *_DELAYED)
