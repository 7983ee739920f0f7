"""Dynamic batching: what is put together, in what order, and when.

On the "delayed" server six requests wait before the scheduler first looks, so that the rules show
without chance. On the "plain" server a held instance makes requests wait.
"""

from __future__ import annotations

from typing import Any

from tests.scheduling.repository import model, tensors
from tests.scheduling.steps import Answered, Cancel, Held, Open, Scenario, Send, Sleep, Step, Wait

_NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")


def rows(count: int, first: int = 1) -> dict[str, Any]:
    """An input of `count` rows of one element."""
    return {"X": [[first + index] for index in range(count)]}


def wide(elements: int) -> dict[str, Any]:
    """An input of one row of `elements` elements."""
    return {"X": [[1] * elements]}


def sends(count: int) -> tuple[Send, ...]:
    return tuple(Send(name) for name in _NAMES[:count])


def batches_of(*sizes: int) -> tuple[Send, ...]:
    """Requests of these many rows."""
    return tuple(Send(name, inputs=rows(size)) for name, size in zip(_NAMES, sizes, strict=False))


def shapes_of(*elements: int) -> tuple[Send, ...]:
    """Requests of one row with these many elements."""
    return tuple(
        Send(name, inputs=wide(size)) for name, size in zip(_NAMES, elements, strict=False)
    )


def while_held(*steps: Step) -> tuple[Step, ...]:
    """The steps, while a request holds the only instance."""
    return (Send("hold"), Held(), *steps, Open(), Wait())


def optional(*names: str) -> tuple[Send, ...]:
    """Requests with those inputs, each named by one letter."""
    return tuple(
        Send(f"{index} {given}", inputs={name: [[1]] for name in given})
        for index, given in enumerate(names)
    )


_OPTIONAL = tensors("X:INT32:-1? Y:INT32:-1? Z:INT32:-1", "OUT:INT32:-1")
_PRIORITIES = "priority_levels: 3 default_priority_level: 2"

MODELS = (
    model("no_scheduler"),
    model("defaults", "dynamic_batching { }"),
    model("one_row", "dynamic_batching { }", batch=1),
    model("no_rows", "dynamic_batching { }", batch=0),
    model("prefers", "dynamic_batching { preferred_batch_size: [ 2, 4 ] }", batch=8),
    model("prefers_3", "dynamic_batching { preferred_batch_size: [ 3 ] }", batch=8),
    model(
        "prefers_late",
        "dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 700000 }",
        batch=8,
    ),
    model("late", "dynamic_batching { max_queue_delay_microseconds: 700000 }"),
    model("optional", "dynamic_batching { }", batch=8, tensors=_OPTIONAL),
    model(
        "ragged",
        "dynamic_batching { }",
        tensors=tensors("X:INT32:-1", "OUT:INT32:-1").replace(
            "dims: [ -1 ] }", "dims: [ -1 ] allow_ragged_batch: true }", 1
        ),
    ),
    model("ordered", "dynamic_batching { preserve_ordering: true }", batch=1, instances=2),
    model("unordered", "dynamic_batching { }", batch=1, instances=2),
    model("levels", f"dynamic_batching {{ {_PRIORITIES} }}", batch=2),
    model("wide_levels", f"dynamic_batching {{ {_PRIORITIES} }}", batch=4),
    model(
        "late_levels",
        f"dynamic_batching {{ {_PRIORITIES} max_queue_delay_microseconds: 700000 }}",
        batch=8,
    ),
    model("told", "dynamic_batching { }", parameters=(("told", "all"),)),
)


def _delayed(name: str, model_name: str, *steps: Step) -> Scenario:
    return Scenario(name, (model_name,), steps, server="delayed", fresh=True)


def _prioritised(*levels: int) -> tuple[Send, ...]:
    return tuple(
        Send(f"{name}{level}", priority=level) for name, level in zip(_NAMES, levels, strict=False)
    )


SCENARIOS = (
    Scenario("no scheduler: one request at a time", ("no_scheduler",), while_held(*sends(3))),
    Scenario(
        "no scheduler: unequal sizes one at a time",
        ("no_scheduler",),
        while_held(*batches_of(1, 3, 4)),
    ),
    Scenario(
        "no scheduler: batch too big",
        ("no_scheduler",),
        (Send("five", inputs=rows(5), wait=True), Send("four", inputs=rows(4), wait=True)),
    ),
    Scenario("dynamic: what waits is one batch", ("defaults",), while_held(*sends(3))),
    Scenario("dynamic: full batches first", ("defaults",), while_held(*sends(6))),
    Scenario("dynamic: one alone is not kept", ("defaults",), (Send("alone", wait=True),)),
    Scenario("dynamic: batch too big", ("defaults",), (Send("five", inputs=rows(5), wait=True),)),
    Scenario("dynamic: mixed sizes", ("defaults",), while_held(*batches_of(2, 3, 1, 4, 1))),
    Scenario("dynamic: unequal shapes", ("defaults",), while_held(*shapes_of(1, 1, 2, 2, 1))),
    Scenario(
        "dynamic: one fails, the batch lives",
        ("defaults",),
        while_held(Send("a"), Send("b fail"), Send("c")),
    ),
    Scenario(
        "dynamic: a raise fails the batch",
        ("defaults",),
        while_held(Send("a"), Send("b raise"), Send("c")),
    ),
    Scenario("dynamic: batches of one row at most", ("one_row",), while_held(*sends(3))),
    Scenario(
        "dynamic: no batching at all",
        ("no_rows",),
        (Send("hold", flat=True), Held(), Send("a", flat=True), Send("b", flat=True), Open()),
    ),
    Scenario(
        "dynamic: an order over two instances",
        ("ordered",),
        (Send("hold"), Held(), Send("b"), Send("c"), Sleep(300), Answered(), Open(), Wait()),
    ),
    Scenario(
        "dynamic: no order over two instances",
        ("unordered",),
        (Send("hold"), Held(), Send("b"), Send("c"), Sleep(300), Answered(), Open(), Wait()),
    ),
    Scenario(
        "dynamic: delay, and the batch fills",
        ("late",),
        (*sends(4), Sleep(200), Answered(), Wait()),
    ),
    Scenario(
        "dynamic: delay, and it does not fill",
        ("late",),
        (*sends(3), Sleep(200), Answered(), Wait()),
    ),
    Scenario(
        "dynamic: delay ends early for another shape",
        ("late",),
        (*shapes_of(1, 1, 2), Sleep(200), Answered(), Wait()),
    ),
    Scenario(
        "dynamic: delay ends early for a size that does not fit",
        ("late",),
        (*batches_of(3, 2), Sleep(200), Answered(), Wait()),
    ),
    Scenario(
        "dynamic: delay for a preferred size",
        ("prefers_late",),
        (*sends(3), Sleep(100), Send("last"), Sleep(200), Answered(), Wait()),
    ),
    Scenario(
        "dynamic: delay beyond a preferred size",
        ("prefers_late",),
        (*sends(5), Sleep(200), Answered(), Wait()),
    ),
    Scenario(
        "dynamic: preferred size passed by a big request",
        ("prefers_late",),
        (*batches_of(3, 3), Sleep(200), Answered(), Wait()),
    ),
    Scenario(
        "dynamic: cancelled while it waits",
        ("defaults",),
        while_held(
            *sends(6),
            Cancel("f"),
            Cancel("b"),
            Sleep(100),
            Answered(),
        ),
    ),
    Scenario(
        "dynamic: cancelled while it runs",
        ("defaults",),
        (Send("hold"), Held(), Cancel("hold"), Sleep(100), Answered(), Open(), Send("b"), Wait()),
    ),
    Scenario(
        "dynamic: what the model is told",
        ("told",),
        (
            Send("a", timeout_us=5_000_000, parameters={"word": "yes", "number": 3}, wait=True),
            Send("b", outputs=("OUT",), priority=1, wait=True),
        ),
    ),
    Scenario(
        "priority: out of range is the default level",
        ("levels",),
        tuple(Send(f"level {level}", priority=level, wait=True) for level in (0, 1, 3, 4, 99)),
    ),
    _delayed("delayed: full batches first", "defaults", *sends(6)),
    _delayed("delayed: mixed sizes", "defaults", *batches_of(2, 3, 1, 4, 1, 1)),
    _delayed("delayed: unequal shapes", "defaults", *shapes_of(1, 1, 2, 2, 1, 1)),
    _delayed("delayed: ragged shapes", "ragged", *shapes_of(1, 2, 3, 2, 1, 1)),
    _delayed("delayed: preferred 2 and 4", "prefers", *sends(7)),
    _delayed("delayed: preferred 2 and 4, mixed sizes", "prefers", *batches_of(1, 2, 1, 3, 3, 1)),
    _delayed("delayed: preferred 3", "prefers_3", *sends(7)),
    _delayed("delayed: preferred 3, bigger requests", "prefers_3", *batches_of(2, 2, 4, 1, 1, 1)),
    _delayed(
        "delayed: optional inputs",
        "optional",
        *optional("XYZ", "XYZ", "Z", "Z", "YZ", "XYZ"),
    ),
    _delayed("delayed: priorities, two by two", "levels", *_prioritised(3, 0, 1, 3, 1, 2)),
    _delayed("delayed: priorities share batches", "wide_levels", *_prioritised(3, 0, 1, 3, 1, 2)),
    _delayed("delayed: priorities out of range", "levels", *_prioritised(9, 3, 2, 1, 77, 3)),
    _delayed(
        "delayed: priorities and unequal shapes",
        "wide_levels",
        *(
            Send(f"{name}{level}", priority=level, inputs=wide(elements))
            for name, level, elements in (
                ("a", 3, 1),
                ("b", 2, 2),
                ("c", 1, 1),
                ("d", 1, 2),
                ("e", 2, 2),
                ("f", 3, 1),
            )
        ),
    ),
    _delayed("delayed: priorities and a delay", "late_levels", *_prioritised(3, 2, 1, 3, 2, 1)),
)
