"""Which requests belong to which sequence: correlation ids, flags, and what is refused."""

from __future__ import annotations

from typing import Any

from tests.scheduling.repository import model
from tests.scheduling.steps import Scenario, Send
from tests.scheduling.table_sequence import DIRECT, first, last, next_of, only, sequences

_NUMBERS = ("UINT64", "INT64", "UINT32", "INT32")

MODELS = (
    *(model(f"id_{each.lower()}", sequences(DIRECT, corrid=each), batch=2) for each in _NUMBERS),
    model("id_string", sequences(DIRECT, corrid="STRING"), batch=2),
    model(
        "id_of_none",
        'sequence_batching { control_input [ { name: "START" control [ { '
        "kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] } ] }",
        batch=2,
        parameters=(("told", "all"),),
    ),
)
_BIG = 2**40 + 5
_TWO_ROWS: dict[str, Any] = {"X": [[1], [2]]}


def _ids(name: str, model_name: str, *ids: int | str) -> Scenario:
    return Scenario(
        f"ids: {name}",
        (model_name,),
        tuple(
            only(each, f"{str(each)[:20]} {type(each).__name__} {len(str(each))}", wait=True)
            for each in ids
        ),
    )


SCENARIOS = (
    _ids("numbers", "id_uint64", 1, _BIG, 2**63 - 1),
    _ids("numbers as INT64", "id_int64", 1, _BIG),
    _ids("numbers as UINT32", "id_uint32", 1, _BIG),
    _ids("numbers as INT32", "id_int32", 1, _BIG),
    _ids("strings", "id_string", "one", "7", "mit Umlaut ä", "x" * 128, "x" * 129),
    _ids("strings where numbers are wanted", "id_uint64", "one", "7"),
    _ids("numbers where strings are wanted", "id_string", 7),
    _ids("either where none is wanted", "id_of_none", 7, "seven", "7"),
    Scenario(
        "ids: a number and its text are two sequences",
        ("id_of_none",),
        (
            first(8, "number", wait=True),
            first("8", "text", wait=True),
            last(8, "number ends", wait=True),
            last("8", "text ends", wait=True),
        ),
    ),
    Scenario("ids: none", ("id_uint64",), (Send("none", wait=True),)),
    Scenario(
        "ids: START on the second request alone",
        ("id_uint64",),
        (next_of(37469245, wait=True), first(37469245, wait=True), last(37469245, wait=True)),
    ),
    Scenario("ids: no START with a string", ("id_string",), (next_of("unknown", wait=True),)),
    Scenario("ids: END alone", ("id_uint64",), (last(41, wait=True),)),
    Scenario(
        "ids: after END",
        ("id_uint64",),
        (only(42, wait=True), next_of(42, wait=True), last(42, wait=True)),
    ),
    Scenario(
        "ids: START twice",
        ("id_uint64",),
        (
            first(43, wait=True),
            first(43, "again", wait=True),
            last(43, wait=True),
            next_of(43, wait=True),
        ),
    ),
    Scenario("ids: two rows", ("id_uint64",), (only(44, inputs=_TWO_ROWS, wait=True),)),
    Scenario(
        "ids: two rows in the middle",
        ("id_uint64",),
        (
            first(45, wait=True),
            next_of(45, inputs=_TWO_ROWS, wait=True),
            next_of(45, "45 with one", wait=True),
            last(45, wait=True),
        ),
    ),
    Scenario(
        "ids: a tensor named like a control",
        ("id_uint64",),
        (only(46, inputs={"X": [[1]], "START": [[5]]}, wait=True),),
    ),
    Scenario(
        "ids: over HTTP",
        ("id_string",),
        (
            first("web", wait=True, over_http=True),
            next_of("web", wait=True, over_http=True),
            last("web", wait=True, over_http=True),
            next_of("web", "after", wait=True, over_http=True),
        ),
    ),
)
