"""Knowingly different: the response cache, and what statistics count."""

from __future__ import annotations

from typing import Any

from tests.scheduling.difference import COUNTS, Differing, statistics

_SAID = ("notes", 0, "said", 0)


def _executed(model: str, times: int) -> dict[str, Any]:
    """Statistics of a model that no cache has answered for, one row at a time."""
    (figures,) = statistics(
        model, success=times, executed=times, inferences=times, cache_miss=times
    )
    sizes = {"batch_size": "1", **{name: {"count": str(times)} for name in COUNTS}}
    return {**figures, "batch_stats": [sizes]}


CACHE = {
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
                {"batch_size": "1", **{name: {"count": "2"} for name in COUNTS}}
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
                    **statistics("cached", success=2, executed=2, inferences=3, cache_miss=2)[0],
                    "batch_stats": [
                        {"batch_size": str(size), **{name: {"count": "1"} for name in COUNTS}}
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
        **{(*stats, name): {"count": str(successes)} for name in ("success", "queue", *COUNTS)},
    }


COUNTED_FAILURES = {
    "statistics: dynamic batches": Differing(_ERRORS_COUNT, _counted(_SAID, 8, 5, 2)),
    "ensemble: statistics": Differing(
        _ERRORS_COUNT, _counted(("notes", 1, "said", 0), rows=6, successes=4, failures=1)
    ),
}
