"""What a listed difference is: a reason, and what is right instead of what was recorded."""

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


NO_SEQUENCE = {"sequence_end": False, "sequence_id": 0, "sequence_start": False}
COUNTS = ("compute_input", "compute_infer", "compute_output")


def statistics(model: str, **counts: int) -> list[Any]:
    """Statistics of a model that has been asked: `success`, `executed`, and cache's hits and
    misses. Batches had one row.
    """

    def count(name: str) -> dict[str, str]:
        return {"count": str(counts[name])} if counts.get(name) else {}

    executed = {name: count("executed") for name in COUNTS}
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
