"""Knowingly different: loads that warm up, and circles of ensembles."""

from __future__ import annotations

from tests.scheduling.difference import Differing, statistics

_WARMED = ("zero", "file", "rows", "twice", "flat batch", "batched", "instances")
_TOO_BIG = (
    "Invalid argument: failed to run warmup sample 'big': batch size 9 for 'warm_too_big', max "
    "allowed is 4"
)
WARM_UPS = {
    **{
        f"warm-up: {name}": Differing(
            "spec 5.7: warm-up does not appear in statistics; in the recorded server it does",
            {("notes", 2, "said"): statistics(f"warm_{name.replace(' ', '_')}")},
        )
        for name in _WARMED
    },
    "warm-up: sequence": Differing(
        "as above; and a model of sequences gets the control tensors that its config promises: "
        "those of a whole sequence, unless the sample gives others",
        {
            ("notes", 2, "said"): statistics("warm_sequence"),
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


def _circle(name: str, names: str) -> Differing:
    text = f"circular dependency between ensembles: {names}"
    return Differing(
        "the whole circle is named; the recorded server leaves out its middle, and says nothing of "
        "an ensemble of the circle that is asked for later",
        {
            ("notes", 0, "said"): f"INVALID_ARGUMENT: load failed for model '{name}': {text}\n",
        },
    )


CIRCLES = {
    "loading: circle": _circle("circle", "circle -> circle"),
    "loading: circle a": _circle("circle_a", "circle_a -> circle_b -> circle_a"),
    "loading: circle b": _circle("circle_b", "circle_b -> circle_a -> circle_b"),
}
