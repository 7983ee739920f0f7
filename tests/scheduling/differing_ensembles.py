"""Knowingly different: ensembles and their steps."""

from __future__ import annotations

from typing import Any

from tests.scheduling.difference import NO_SEQUENCE, Differing

_SEQUENCE_77 = {"sequence_end": True, "sequence_id": 77, "sequence_start": True}


def _two(name: str, **told: Any) -> list[Any]:
    """The batch that step `two` of the ensemble `chain` sees."""
    seen = {"id": name, "X": [[2]], "correlation_id": 0, "flags": 0, "timeout": 0}
    return [[{**seen, "parameters": {}, "outputs": ["OUT"], **told}]]


_PARAMETERS = "the recorded Python backend has no parameters of responses; the newer line has"
ENSEMBLES = {
    "ensemble: parameters of a step's response": Differing(
        f"{_PARAMETERS}, and an ensemble forwards none but a sequence's (spec 5.4)",
        {
            ("answers", "parameters@one"): {
                "outputs": {"OUT": [[3]]},
                "parameters": NO_SEQUENCE,
            },
            ("answers", "parameters@two"): {
                "outputs": {"OUT": [[3]]},
                "parameters": NO_SEQUENCE,
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
