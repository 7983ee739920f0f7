"""Where pyserver knowingly does not do what was recorded, and why: the real Triton at hand is 2.51,
and what is followed is the newer line (2.73) as shared/spec tells it, or better sense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Differing:
    """`parts` replace what was recorded at these places: keys of the recording, as a path. A value
    of None takes the place away. Where it `varies`, the recorded server does now this and now that.
    """

    reason: str
    parts: Mapping[tuple[str | int, ...], Any]
    varies: bool = False

    def instead_of(self, recorded: Any) -> Any:
        """What is right instead."""
        return _replaced(recorded, self.parts)


def _replaced(value: Any, parts: Mapping[tuple[str | int, ...], Any]) -> Any:
    if () in parts:
        return parts[()]
    kept: dict[Any, Any] = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    for key in {path[0] for path in parts}:
        below = {path[1:]: part for path, part in parts.items() if path[0] == key}
        kept[key] = _replaced(kept.get(key, {}), below)
        if kept[key] is None:
            del kept[key]
    return kept if isinstance(value, dict) else [kept[index] for index in sorted(kept)]


_COUNTS = ("compute_input", "compute_infer", "compute_output")


def _statistics(model: str, **counts: int) -> list[Any]:
    """Statistics of a model that has been asked: `success`, `executed`, and cache's hits and
    misses. Batches had one row.
    """

    def count(name: str) -> dict[str, str]:
        return {"count": str(counts[name])} if counts.get(name) else {}

    executed = {name: count("executed") for name in _COUNTS}
    found: dict[str, Any] = {"name": model, "version": "1"}
    if counts.get("executed"):
        found |= {
            "inference_count": str(counts["inferences"]),
            "execution_count": str(counts["executed"]),
        }
    found["inference_stats"] = {
        "success": count("success"),
        "fail": {},
        "queue": count("success"),
        **executed,
        "cache_hit": count("cache_hit"),
        "cache_miss": count("cache_miss"),
    }
    return [found]


_WARMED = ("zero", "file", "rows", "twice", "flat batch", "batched", "instances")
_TOO_BIG = (
    "Invalid argument: failed to run warmup sample 'big': batch size 9 for 'warm_too_big', max "
    "allowed is 4"
)
_WARM_UPS = {
    **{
        f"warm-up: {name}": Differing(
            "spec 5.7: warm-up does not appear in statistics; in the recorded server it does",
            {("notes", 2, "said"): _statistics(f"warm_{name.replace(' ', '_')}")},
        )
        for name in _WARMED
    },
    "warm-up: sequence": Differing(
        "as above; and a model of sequences gets the control tensors that its config promises: "
        "those of a whole sequence, unless the sample gives others",
        {
            ("notes", 2, "said"): _statistics("warm_sequence"),
            ("batches", "warm_sequence", 0, 0): {
                "id": "",
                "X": {"shape": [1, 2]},
                **{name: [[1]] for name in ("START", "READY", "END", "CORRID")},
            },
        },
    ),
    "warm-up: too big": Differing(
        "refused before anything is started, and said once instead of once for each row",
        {
            ("notes", 0, "said"): "INVALID_ARGUMENT: load failed for model 'warm_too_big': version "
            f"1 is at UNAVAILABLE state: {_TOO_BIG};\n",
            ("notes", 1, "said", 0, "reason"): _TOO_BIG,
        },
    ),
}


def _seen(name: str, corrid: Any) -> list[Any]:
    controls = {"START": [[1]], "READY": [[1]], "END": [[1]]}
    return [{"id": name, "X": [[1]], **controls, "CORRID": [[corrid]]}]


_ANSWER = {"outputs": {"OUT": [[2]]}}
_LONGEST = "x" * 128
_TEXTS = {
    "one str 3": "one",
    "7 str 1": "7",
    "mit Umlaut ä str 12": "mit Umlaut ä",
    f"{_LONGEST[:20]} str 128": _LONGEST,
}


def _other_type(name: str, given: str, model: str, wanted: str) -> dict[str, str]:
    return {
        "status": "INVALID_ARGUMENT",
        "error": f"[request id: {name}] sequence batching control 'CORRID' data-type is "
        f"'{given}', but model '{model}' expects '{wanted}'",
    }


_BYTES_OF_IDS = (
    "spec 5.3: a string id is one element of CORRID, and its type must be the control's; the "
    "recorded server takes what lies in memory behind a short string for a second element"
)
_IDS = {
    "ids: strings": Differing(
        _BYTES_OF_IDS,
        {
            **{("answers", name): _ANSWER for name in _TEXTS},
            ("batches", "id_string"): [_seen(*each) for each in _TEXTS.items()],
        },
    ),
    "ids: strings where numbers are wanted": Differing(
        _BYTES_OF_IDS,
        {
            **{
                ("answers", name): _other_type(name, "BYTES", "id_uint64", "UINT64")
                for name in ("one str 3", "7 str 1")
            },
            ("batches",): None,
        },
    ),
    "ids: numbers where strings are wanted": Differing(
        _BYTES_OF_IDS,
        {("answers", "7 int 1"): _other_type("7 int 1", "UINT64", "id_string", "BYTES")},
    ),
    "ids: over HTTP": Differing(
        _BYTES_OF_IDS,
        {
            ("answers", "web starts"): _ANSWER,
            ("answers", "web goes on"): _ANSWER,
            ("answers", "web ends"): _ANSWER,
            ("batches", "id_string"): [
                [
                    {
                        "id": f"web {word}",
                        "X": [[1]],
                        "START": [[start]],
                        "READY": [[1]],
                        "END": [[end]],
                        "CORRID": [["web"]],
                    }
                ]
                for word, start, end in (("starts", 1, 0), ("goes on", 0, 0), ("ends", 0, 1))
            ],
        },
    ),
}

_NO_SEQUENCE = {"sequence_end": False, "sequence_id": 0, "sequence_start": False}
_SEQUENCE_77 = {"sequence_end": True, "sequence_id": 77, "sequence_start": True}


def _two(name: str, **told: Any) -> list[Any]:
    """The batch that step `two` of the ensemble `chain` sees."""
    seen = {"id": name, "X": [[2]], "correlation_id": 0, "flags": 0, "timeout": 0}
    return [[{**seen, "parameters": {}, "outputs": ["OUT"], **told}]]


_PARAMETERS = "the recorded Python backend has no parameters of responses; the newer line has"
_ENSEMBLES = {
    "ensemble: parameters of a step's response": Differing(
        f"{_PARAMETERS}, and an ensemble forwards none but a sequence's (spec 5.4)",
        {
            ("answers", "parameters@one"): {
                "outputs": {"OUT": [[3]]},
                "parameters": _NO_SEQUENCE,
            },
            ("answers", "parameters@two"): {
                "outputs": {"OUT": [[3]]},
                "parameters": _NO_SEQUENCE,
            },
            ("batches", "two"): [*_two("parameters@one"), *_two("parameters@two")],
        },
    ),
    "ensemble: a step's response names a sequence": Differing(
        f"{_PARAMETERS}, and a sequence's are what the next steps are told (spec 5.4)",
        {
            ("answers", "sequence@one"): {
                "outputs": {"OUT": [[3]]},
                "parameters": _SEQUENCE_77,
            },
            ("batches", "two"): _two("sequence@one", correlation_id=77, flags=3),
        },
    ),
    "ensemble: cancelled between its steps": Differing(
        "spec 5.10: a cancelled request is dropped between an ensemble's steps; the recorded "
        "server executes the next step",
        {("batches", "two"): None},
    ),
}
_FINAL = {"outputs": {}, "parameters": {"triton_final_response": True}}


def _streamed(*values: int) -> list[Any]:
    """The answers of a decoupled ensemble, and the end of them."""
    parameters = {**_NO_SEQUENCE, "triton_final_response": False}
    answers = [{"outputs": {"OUT": [value]}, "parameters": parameters} for value in values]
    return [*answers, _FINAL]


_FLAGS_ONLY = (
    "spec 5.4: after its answers a decoupled ensemble sends a final one of flags only; the "
    "recorded server does now this, and now makes its last answer the final one"
)
_STREAMS = {
    "ensemble: decoupled, one answer": Differing(
        _FLAGS_ONLY, {("answers", "a"): _streamed(2)}, varies=True
    ),
    "ensemble: decoupled, three answers": Differing(
        _FLAGS_ONLY, {("answers", "a"): _streamed(4, 14, 24)}, varies=True
    ),
}
_INPUTS = {
    "ensemble: optional inputs": Differing(
        "only the number of inputs is checked there, so the ensemble meets the missing one",
        {
            ("answers", "other", "error"): "[request id: other] expected number of inputs between "
            "1 and 2 but got 1 inputs for model 'optional_inputs'. Got input(s) ['Y'], but missing "
            "required input(s) ['X']. Please provide all required input(s)."
        },
    ),
}


def _circle(name: str, names: str) -> Differing:
    text = f"circular dependency between ensembles: {names}"
    return Differing(
        "the whole circle is named; the recorded server leaves out its middle, and says nothing of "
        "an ensemble of the circle that is asked for later",
        {
            ("notes", 0, "said"): f"INVALID_ARGUMENT: load failed for model '{name}': {text}\n",
        },
    )


_CIRCLES = {
    "loading: circle": _circle("circle", "circle -> circle"),
    "loading: circle a": _circle("circle_a", "circle_a -> circle_b -> circle_a"),
    "loading: circle b": _circle("circle_b", "circle_b -> circle_a -> circle_b"),
}


def _plainly(*names: str) -> list[Any]:
    return [{"id": name, "X": [[1]]} for name in names]


_TIMED_OUT = "[request id: {}] Request timeout expired"
_PREFIX = "the newer line's text has the request's id (trap 6)"
_AT_ONCE = "who waited too long is told when the time is over, not when a scheduler looks again"


def _timed_out(*names: str) -> dict[tuple[str | int, ...], Any]:
    return {("answers", name, "error"): _TIMED_OUT.format(name) for name in names}


_QUEUES = {
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
_SEQUENCES = {
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
_SAID = ("notes", 0, "said", 0)


def _executed(model: str, times: int) -> dict[str, Any]:
    """Statistics of a model that no cache has answered for, one row at a time."""
    (figures,) = _statistics(
        model, success=times, executed=times, inferences=times, cache_miss=times
    )
    sizes = {"batch_size": "1", **{name: {"count": str(times)} for name in _COUNTS}}
    return {**figures, "batch_stats": [sizes]}


_CACHE = {
    "cache: errors are not kept": Differing(
        "the recorded server keeps the answer of a request that failed as one without outputs, and "
        "gives that to whoever asks again; an error is nobody's answer but its own",
        {
            ("answers", "b", "outputs", "OUT"): [[121]],
            ("answers", "c", "outputs", "OUT"): [[121]],
            ("batches", "cached"): [
                [{"id": "fail", "X": [[120]]}],
                [{"id": "b", "X": [[120]]}],
            ],
            (*_SAID, "execution_count"): "2",
            (*_SAID, "batch_stats"): [
                {"batch_size": "1", **{name: {"count": "2"} for name in _COUNTS}}
            ],
            (*_SAID, "inference_stats", "success"): {"count": "2"},
            (*_SAID, "inference_stats", "fail"): {"count": "1"},
            (*_SAID, "inference_stats", "queue"): {"count": "2"},
            (*_SAID, "inference_stats", "cache_hit"): {"count": "1"},
            (*_SAID, "inference_stats", "cache_miss"): {"count": "2"},
        },
    ),
    "cache: parameters, ids and priorities do not count": Differing(
        "a model sees the parameters of a request and may answer by them, so that they are part of "
        "the key; ids, priorities and time-outs are not",
        {
            ("batches", "cached"): [[{"id": "a", "X": [[130]]}], [{"id": "b", "X": [[130]]}]],
            _SAID: _executed("cached", 2),
        },
    ),
    "cache: an ensemble as a whole": Differing(
        "the answer is kept whole: with the parameters that the first one had",
        {
            ("answers", "b", "parameters"): {
                "sequence_end": False,
                "sequence_id": 0,
                "sequence_start": False,
            }
        },
    ),
    "cache: it outlives the model": Differing(
        "a model that is loaded again may be another one; answers go with what gave them",
        {
            ("batches", "cached"): [[{"id": "a", "X": [[180]]}], [{"id": "b", "X": [[180]]}]],
            ("notes", 2, "said", 0): _executed("cached", 1),
        },
    ),
    "cache: equal bytes in another shape": Differing(
        "spec 5.6: the key covers shapes and datatypes; the recorded server's does not, and it "
        "gives an answer of the wrong shape",
        {
            ("answers", "b", "outputs", "OUT"): [[142], [143]],
            ("batches", "cached"): [
                [{"id": "a", "X": [[141, 142]]}],
                [{"id": "b", "X": [[141], [142]]}],
            ],
            ("notes", 0, "said"): [
                {
                    **_statistics("cached", success=2, executed=2, inferences=3, cache_miss=2)[0],
                    "batch_stats": [
                        {"batch_size": str(size), **{name: {"count": "1"} for name in _COUNTS}}
                        for size in (1, 2)
                    ],
                }
            ],
        },
    ),
}

_ERRORS_COUNT = (
    "spec 1.14: what failed counts as failed only; the recorded Python backend counts a response "
    "that is an error as a success"
)


def _counted(at: tuple[str | int, ...], rows: int, successes: int, failures: int) -> dict[Any, Any]:
    stats = (*at, "inference_stats")
    return {
        (*at, "inference_count"): str(rows),
        (*stats, "fail"): {"count": str(failures)},
        **{(*stats, name): {"count": str(successes)} for name in ("success", "queue", *_COUNTS)},
    }


_COUNTED_FAILURES = {
    "statistics: dynamic batches": Differing(_ERRORS_COUNT, _counted(_SAID, 8, 5, 2)),
    "ensemble: statistics": Differing(
        _ERRORS_COUNT, _counted(("notes", 1, "said", 0), rows=6, successes=4, failures=1)
    ),
}

DIFFERING: dict[str, Differing] = {
    **_WARM_UPS,
    **_IDS,
    **_ENSEMBLES,
    **_STREAMS,
    **_INPUTS,
    **_CIRCLES,
    **_QUEUES,
    **_SEQUENCES,
    **_CACHE,
    **_COUNTED_FAILURES,
}
