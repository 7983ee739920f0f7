"""Models that call others, load them and count; and decoupled ones in the middle of something."""

from __future__ import annotations

import numpy as np

from tests.python_models.call import Call, count, floats, kind

_FAILING = (
    "good",
    "no such model",
    "no such version",
    "version",
    "other name",
    "no input",
    "one too many",
    "other shape",
    "other datatype",
    "no such output",
    "no outputs asked for",
    "one output twice",
    "error of the other",
    "exception of the other",
    "decoupled other",
    "with id",
)
_ITERATORS = (
    "none",
    "three",
    "threads",
    "breaks_off",
    "raises",
    "awaited",
    "in_steps",
    "again",
    "cancelled",
    "one_answer_of_many",
    "nowhere",
)
_SAYING = (
    "nothing",
    "id",
    "timeout",
    "correlation",
    "correlation text",
    "flags",
    "version",
    "memory",
    "memory and device",
    "parameters",
    "traced",
)
# Not asked of a request of its own: its sender, its cancellation, its release flags; nor is a
# request that was given sent on, or given other release flags than these: the recorded server dies
# of these, or waits for ever.
_REFUSED = (
    "correlation",
    "correlation none",
    "parameters",
    "parameters list",
    "parameters keys",
    "parameters text",
    "empty output",
    "none as input",
    "no model",
    "wrong timeout",
    "wrong id",
    "wrong memory",
    "flags",
    "set_flags",
    "release flags, all",
)


def _kinds(model: str, names: tuple[str, ...]) -> tuple[Call, ...]:
    return tuple(Call(f"{model}: {name}", model, kind(name)) for name in names)


def _steps(number: int) -> dict[str, np.ndarray]:
    return {"STEPS": np.array([[number]], np.int32)}


CALLS: tuple[Call, ...] = (
    *(Call(f"proxy {number}", "proxy", count(number), stream=True) for number in (0, 1, 5)),
    *(
        Call(f"iterative, streamed {number}", "streams_down", _steps(number), stream=True)
        for number in (4, 1)
    ),
    *(Call(f"partial {number}", "partial", count(number), stream=True) for number in (0, 3, 7)),
    Call("chain", "chain", floats(3, 4, 5, 6)),
    Call("chain that does not fit", "chain", floats(1, 2)),
    Call("chain with an error", "chain", floats(13)),
    Call("fan-out of one", "fan_out", floats(1)),
    Call("fan-out of 100", "fan_out", floats(*range(100, 200))),
    Call("fan-out with an error", "fan_out", floats(1, 13, 2)),
    *_kinds("call_errors", _FAILING),
    *_kinds("iterates", _ITERATORS),
    Call("calls of a sequence", "calls_sequence", {"X": np.arange(1, 6, dtype=np.int32)}),
    Call("calls of a sequence, again", "calls_sequence", {"X": np.array([5], np.int32)}),
    *_kinds("loads", ("life", "override", "errors")),
    *_kinds("metrics", ("counter", "gauges", "errors", "again")),
    Call("histogram", "histogram", kind("")),
    Call("calls in threads", "calls_in_threads", floats(*range(100, 120))),
    *_kinds("calls_with", _SAYING),
    *_kinds("refused_requests", _REFUSED),
)
