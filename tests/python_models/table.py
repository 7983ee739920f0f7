"""Calls to the Python models of this folder, each with what is sent; recorded.json has what the
real Triton answered.
"""

from __future__ import annotations

import numpy as np

from tests.python_models import table_calls
from tests.python_models.call import Call, count, floats, words


def _step(value: int) -> dict[str, np.ndarray]:
    return {"X": np.array([value], np.int32)}


_ERRORS = (
    "raise",
    "nested",
    "model exception",
    "none",
    "few",
    "many",
    "not a list",
    "not a response",
    "tensors and error",
    "unknown output",
    "no output",
    "other datatype",
    "other shape",
    "plain",
    "good",
    *(
        f"code {code}"
        for code in (
            "UNKNOWN",
            "INTERNAL",
            "NOT_FOUND",
            "INVALID_ARG",
            "UNAVAILABLE",
            "UNSUPPORTED",
            "ALREADY_EXISTS",
            "CANCELLED",
        )
    ),
)
_NUMBERS = {
    "BOOL": np.array([[True, False, True]]),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 65535]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-32768, 32767]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[0.5, -65504]], np.float16),
    "FP32": np.array([[0.1, -3e38]], np.float32),
    "FP64": np.array([[0.1, -1e308]], np.float64),
}

CALLS: tuple[Call, ...] = (
    Call(
        "add and subtract",
        "add_sub",
        {"INPUT0": np.arange(4, dtype=np.float32), "INPUT1": np.ones(4, np.float32)},
    ),
    Call(
        "one output of two",
        "add_sub",
        {"INPUT0": np.arange(4, dtype=np.float32), "INPUT1": np.ones(4, np.float32)},
        ("OUTPUT1",),
    ),
    Call("strings", "upper", {"IN": words(b"abc", b"", b"longer than three").reshape(1, 3)}),
    Call("strings in rows", "upper", {"IN": words(b"a", b"b", b"c", b"d").reshape(2, 2)}),
    Call("completed", "completed", {"IN": np.array([[1, 2], [3, 4]], np.float32)}),
    *(
        Call(f"{model} {number}", model, count(number), stream=True)
        for model in ("repeat", "threads", "breaks_off", "raises_decoupled")
        for number in (0, 1, 3)
    ),
    Call("by sender", "sends", floats(1, 2)),
    Call("by return", "sends", floats(3, 4)),
    Call("no parameters", "parameters", floats(1)),
    Call(
        "parameters",
        "parameters",
        floats(1),
        options={"parameters": {"a": 1, "b": "text", "c": True, "d": "1"}},
    ),
    Call("attributes", "attributes", floats(1, 2, 3)),
    Call(
        "attributes, given",
        "attributes",
        floats(1),
        ("TEXT",),
        options={"request_id": "seven", "timeout": 5_000_000, "priority": 1},
    ),
    Call(
        "attributes of a sequence",
        "attributes",
        floats(1),
        options={"sequence_id": 42, "sequence_start": True},
    ),
    Call(
        "attributes of a named sequence",
        "attributes",
        floats(1),
        options={"sequence_id": "named", "sequence_end": True},
    ),
    *(
        Call(
            f"error: {kind}",
            "errors",
            {"KIND": words(kind.encode())},
            options={"request_id": kind},
        )
        for kind in _ERRORS
    ),
    Call(
        "both inputs", "optional", {"A": np.array([[2]], np.int32), "B": np.array([[3]], np.int32)}
    ),
    Call("one input", "optional", {"B": np.array([[3]], np.int32)}),
    Call("dlpack", "dlpack", {"X": np.arange(8, dtype=np.float32).reshape(2, 4)}),
    Call("coroutine", "coroutines", floats(1, 2)),
    Call("coroutine that raises", "coroutines", {"X": np.zeros(0, np.float32)}),
    Call("arguments", "arguments", floats(1)),
    Call("helpers", "helpers", floats(1)),
    Call("logs", "logs", floats(1)),
    *(Call(f"datatype {name}", "datatypes", {name: array}) for name, array in _NUMBERS.items()),
    Call(
        "datatype STRING",
        "datatypes",
        {"STRING": words(b"a", "ä".encode(), b"\xff").reshape(1, 3)},
    ),
    Call("iterative", "counts_down", {"STEPS": np.array([[3]], np.int32)}),
    Call("iterative, once", "counts_down", {"STEPS": np.array([[1]], np.int32)}),
    Call("sequence", "remembers", _step(1), options={"sequence_id": 5, "sequence_start": True}),
    Call("sequence, second", "remembers", _step(2), options={"sequence_id": 5}),
    Call("sequence, end", "remembers", _step(3), options={"sequence_id": 5, "sequence_end": True}),
    Call("imports", "imports", floats(1)),
    Call("sender errors", "sender_errors", floats(1)),
    Call("sender errors, after", "sender_errors", floats(1)),
    Call("setters", "setters", floats(1)),
    *table_calls.CALLS,
)
