"""Where pyserver knowingly does not answer as recorded, and why: the real Triton at hand is 2.51,
and what is followed is the newer line (2.73) as shared/spec tells it, or better sense.
"""

from __future__ import annotations

from typing import Any

from tests.scheduling.difference import Differing


def _text(*data: str) -> dict[str, Any]:
    return {"TEXT": {"datatype": "BYTES", "shape": [len(data)], "data": list(data)}}


_PARAMETERS = "responses have parameters in the newer line"
_SAID = {"number": 7, "seen": True, "word": "said"}
_PREFIX = Differing(
    "the newer line begins this text as it does all others of response senders (spec 6.2)",
    {
        ("outputs", "TEXT", "data", 1): "TritonModelException: Unable to send response. Inference"
        " Response object must be provided when the response flags is set to zero."
    },
)

_NO_LOAD = (
    "TritonModelException: Failed to load model: Failed to process the request for model 'loads_0',"
    " message: "
)

DIFFERING: dict[str, Differing] = {
    "no parameters": Differing(_PARAMETERS, {(): {"outputs": _text("{}"), "parameters": _SAID}}),
    "parameters": Differing(
        _PARAMETERS,
        {
            (): {
                "outputs": _text('{"a": 1, "b": "text", "c": true, "d": "1"}'),
                "parameters": {"a": 1, "b": "text", "c": True, "d": "1"} | _SAID,
            }
        },
    ),
    "error: none": Differing(
        "the recorded server never answers a request that neither the return value nor a sender has"
        " answered",
        {
            (): {
                "status": "StatusCode.INTERNAL",
                "error": "Failed to process the request(s) for model 'errors_0', message: Expected"
                " an 'InferenceResponse' object in the execute function return list, found type"
                " '<class 'NoneType'>'.",
            }
        },
    ),
    "dlpack": Differing(
        "the recorded server's process dies of it",
        {
            (): {
                "outputs": {
                    "OUT": {
                        "datatype": "FP32",
                        "shape": [2, 4],
                        "data": [str(3.0 * number) for number in range(8)],
                    },
                    **_text(
                        "(1, 0)",
                        "True",
                        "[2, 4]",
                        "DLPack does not have support for string tensors.",
                        "Tensor name cannot be an empty string.",
                        "Tensor name cannot be an empty string.",
                        "[[0.0, 3.0, 6.0, 9.0], [12.0, 15.0, 18.0, 21.0]]",
                    ),
                }
            }
        },
    ),
    "call_errors: error of the other": Differing(
        "an error keeps its code when it comes by a call",
        {
            ("outputs", "TEXT"): _text(*["error __ErrorCode.NOT_FOUND: thirteen is refused"] * 2)[
                "TEXT"
            ]
        },
    ),
    "iterates: breaks_off": Differing(
        "the recorded server's iterators lose an error that more responses follow",
        {
            ("outputs", "TEXT"): _text(
                "[0]", "[1]", "error __ErrorCode.UNAVAILABLE: no more than that", "[-1]"
            )["TEXT"]
        },
    ),
    "iterates: again": Differing(
        "a response's memory is free when it was taken; there it is kept for a second walk",
        {("outputs", "TEXT"): _text("[0]", "[1]", "empty", "again")["TEXT"]},
    ),
    "iterates: cancelled": Differing(
        "iterators can be cancelled in the newer line",
        {(): {"outputs": _text("[0]", "error __ErrorCode.CANCELLED: broken off")}},
    ),
    "loads: override": Differing(
        "files without a config are refused with what is wrong, as over HTTP",
        {
            ("outputs", "TEXT", "data", 3): f"{_NO_LOAD}Load parameter 'config' must be specified"
            " for model file override"
        },
    ),
    "loads: errors": Differing(
        "says what is wrong with a config; refuses names of files that the recorded overlooks",
        {
            ("outputs", "TEXT", "data", 1): f"{_NO_LOAD}Invalid config override: failed to parse"
            " model configuration JSON: Expecting value: line 1 column 1 (char 0)",
            (
                "outputs",
                "TEXT",
                "data",
                3,
            ): f"{_NO_LOAD}unrecognized load parameter '1/model.py'.",
        },
    ),
    "sender errors": _PREFIX,
    "sender errors, after": _PREFIX,
}

ERRORS: dict[str, tuple[str, str]] = {
    "no_execute": (
        "the recorded server loads it, and fails every request",
        "StatusCode.INVALID_ARGUMENT: load failed for model 'no_execute': version 1 is at"
        " UNAVAILABLE state: Internal: Failed to find 'execute' of TritonPythonModel in"
        " '<models>/no_execute/1/model.py': it must be defined;\n",
    ),
}
