"""Knowingly different: correlation ids, inputs, and the last mark of streams."""

from __future__ import annotations

from typing import Any

from tests.scheduling.difference import NO_SEQUENCE, Differing


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
IDS = {
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


_FINAL = {"outputs": {}, "parameters": {"triton_final_response": True}}


def _streamed(*values: int) -> list[Any]:
    """The answers of a decoupled ensemble, and the end of them."""
    parameters = {**NO_SEQUENCE, "triton_final_response": False}
    answers = [{"outputs": {"OUT": [value]}, "parameters": parameters} for value in values]
    return [*answers, _FINAL]


_FLAGS_ONLY = (
    "spec 5.4: after its answers a decoupled ensemble sends a final one of flags only; the "
    "recorded server does now this, and now makes its last answer the final one"
)
STREAMS = {
    "ensemble: decoupled, one answer": Differing(
        _FLAGS_ONLY, {("answers", "a"): _streamed(2)}, varies=True
    ),
    "ensemble: decoupled, three answers": Differing(
        _FLAGS_ONLY, {("answers", "a"): _streamed(4, 14, 24)}, varies=True
    ),
}
INPUTS = {
    "ensemble: optional inputs": Differing(
        "only the number of inputs is checked there, so the ensemble meets the missing one",
        {
            ("answers", "other", "error"): "[request id: other] expected number of inputs between "
            "1 and 2 but got 1 inputs for model 'optional_inputs'. Got input(s) ['Y'], but missing "
            "required input(s) ['X']. Please provide all required input(s)."
        },
    ),
}
