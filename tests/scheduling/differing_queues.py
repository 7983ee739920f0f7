"""Knowingly different: queue policies and sequences."""

from __future__ import annotations

from typing import Any

from tests.scheduling.difference import Differing


def _plainly(*names: str) -> list[Any]:
    return [{"id": name, "X": [[1]]} for name in names]


_TIMED_OUT = "[request id: {}] Request timeout expired"
_PREFIX = "the newer line's text has the request's id (trap 6)"
_AT_ONCE = "who waited too long is told when the time is over, not when a scheduler looks again"


def _timed_out(*names: str) -> dict[tuple[str | int, ...], Any]:
    return {("answers", name, "error"): _TIMED_OUT.format(name) for name in names}


QUEUES = {
    "dynamic: cancelled while it waits": Differing(
        "a cancelled request is left out of a batch until it is executed; the recorded server "
        "forms batches ahead and executes it",
        {("batches", "defaults"): [_plainly("hold"), _plainly("a", "c", "d", "e")]},
    ),
    "queue: too long, rejected": Differing(
        f"{_PREFIX}; {_AT_ONCE}",
        {**_timed_out(*"abcdef"), ("notes", 0, "answered"): list("abcdef")},
    ),
    "queue: delayed ones come last, but before lower levels": Differing(
        "spec 5.2: who waited too long comes after those of the level that are in time; behind a "
        "higher level the recorded server keeps the order of arrival",
        {
            ("batches", "by_level"): [
                _plainly(name) for name in ("e1", "c2", "d2", "h2", "a2", "b2")
            ]
        },
    ),
    "queue: too long, delayed": Differing(
        "among those that are in time the first is served first; the recorded server now and then "
        "begins with the second",
        {("batches", "delays"): [_plainly(name) for name in ("hold", "new", "newer", *"abcde")]},
        varies=True,
    ),
    "queue: too long in a batch that waits for more": Differing(_PREFIX, _timed_out(*"ab")),
    "queue: the request's time-out is shorter": Differing(_PREFIX, _timed_out("short")),
    "queue: the request's time-out is longer": Differing(
        _PREFIX, _timed_out("a", "b", "c", "d", "long", "plain")
    ),
    "queue: rejected when looked at": Differing(
        f"{_PREFIX}; {_AT_ONCE}", {**_timed_out(*"abc"), ("notes", 0, "answered"): list("abc")}
    ),
}


def _controlled(name: str, corrid: int, start: int = 1, end: int = 1) -> dict[str, Any]:
    controls = {"START": [[start]], "READY": [[1]], "END": [[end]]}
    return {"id": name, "X": [[1]], **controls, "CORRID": [[corrid]]}


def _at_once(*sequences: int) -> list[Any]:
    return [_controlled(f"{sequence} at once", sequence) for sequence in sequences]


_HOLD = [_controlled("hold", 1, end=0)]
_END = _controlled("1 ends", 1, start=0)
_OLDEST_FIRST = (
    "the oldest come first, and all that fit: the recorded server leaves some candidates for "
    "later, and not the same ones in every run"
)
_IN_LINE = (
    "those that wait are executed in the order in which they came; the recorded server forms a "
    "batch ahead and lets a later request of the same shape into it, past one of another shape"
)
_CANCELLED = "a cancelled request ends its sequence, and all of it is told at once"
SEQUENCES = {
    "oldest: sequences share a batch": Differing(
        _OLDEST_FIRST,
        {("batches", "candidates_4"): [_HOLD, [*_at_once(2, 3, 4), _END]]},
        varies=True,
    ),
    "oldest: no more candidates than allowed": Differing(
        _OLDEST_FIRST,
        {("batches", "candidates_2"): [_HOLD, [*_at_once(2), _END], _at_once(3, 4)]},
        varies=True,
    ),
    "oldest: requests of one sequence never share a batch": Differing(
        _OLDEST_FIRST,
        {
            ("batches", "candidates_4"): [
                _HOLD,
                [_controlled("2 starts", 2, end=0), _controlled("3 starts", 3, end=0), _END],
                [
                    _controlled("2 goes on", 2, start=0, end=0),
                    _controlled("3 ends", 3, start=0),
                ],
                [_controlled("2 ends", 2, start=0)],
            ]
        },
        varies=True,
    ),
    "oldest: preferred size": Differing(
        _OLDEST_FIRST,
        {
            ("batches", "candidates_8"): [
                _HOLD,
                _at_once(2, 3),
                _at_once(4, 5),
                [*_at_once(6), _END],
            ]
        },
        varies=True,
    ),
    "oldest: delay for a preferred size": Differing(
        _OLDEST_FIRST,
        {
            ("batches", "candidates_late"): [_at_once(1, 2, 3)],
            ("notes", 1, "answered"): [f"{sequence} at once" for sequence in (1, 2, 3)],
        },
        varies=True,
    ),
    "oldest: delay, and it does not fill": Differing(
        _OLDEST_FIRST, {("batches", "candidates_late"): [_at_once(1, 2)]}, varies=True
    ),
    "oldest: unequal shapes do not share a batch": Differing(
        _IN_LINE,
        {
            ("batches", "candidates_4"): [
                _HOLD,
                [{**_controlled("2 at once", 2), "X": [[1, 1]]}],
                _at_once(3),
                [{**_END, "X": [[1, 1]]}],
            ]
        },
    ),
    "oldest: cancelled while it waits": Differing(
        f"{_CANCELLED} (spec 5.3); the recorded server executes it and goes on",
        {
            ("answers", "2 goes on"): {
                "status": "CANCELLED",
                "error": "[request id: 2 goes on] Request cancelled",
            },
            ("answers", "2 later"): {
                "status": "INVALID_ARGUMENT",
                "error": "inference request for sequence 2 to model 'candidates_4' must specify "
                "the START flag on the first request of the sequence",
            },
            ("notes", 0, "answered"): ["2 starts", "2 goes on"],
            ("batches", "candidates_4"): [
                _HOLD,
                _at_once(3),
                [_END],
            ],
        },
    ),
    "direct: cancelled in its slot": Differing(
        f"{_CANCELLED}; the recorded server has no text for the others",
        {
            ("answers", "c", "error"): "[request id: c] Request cancelled",
            ("notes", 0, "answered"): ["b", "c"],
        },
    ),
}
