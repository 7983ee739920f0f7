"""What models count by themselves (MetricFamily of the Python backend), for a metrics endpoint.

Each process reports all its families; here they are one view per model: counters and histograms of
all instances together, also of those that have ended, so that no counter ever falls; gauges of
equal labels as the instance that spoke last has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Model:
    """What a model's living processes say, and what those that ended have left."""

    processes: dict[object, dict[str, Any]] = field(default_factory=dict)
    left: dict[str, Any] = field(default_factory=dict)


class CustomMetrics:
    """Belongs to the control plane's loop. A process is named by any object of its own."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}

    def report(self, model: str, process: object, families: list[dict[str, Any]]) -> None:
        """Takes the place of what the process has said before."""
        known = self._models.setdefault(model, _Model())
        known.processes.pop(process, None)
        known.processes[process] = _by_name(families)

    def ended(self, model: str, process: object) -> None:
        """What it has counted stays; its gauges do not."""
        known = self._models.get(model)
        said = known.processes.pop(process, None) if known is not None else None
        if known is None or said is None:
            return
        lasting = {name: one for name, one in said.items() if one["kind"] != "gauge"}
        known.left = _sum([known.left, lasting])

    def forget(self, model: str) -> None:
        """The model is no longer served."""
        self._models.pop(model, None)

    def custom_metrics(self) -> dict[str, list[dict[str, Any]]]:
        """By model: its families, as {"name", "help", "kind", "series"}. A series has "labels" and
        "value", or of a histogram "buckets" (upper bounds), "counts" (one more than bounds, not
        cumulative) and "sum".
        """
        return {
            name: [
                one | {"series": list(one["series"].values())}
                for one in _sum([known.left, *known.processes.values()]).values()
            ]
            for name, known in self._models.items()
        }


def _by_name(families: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        str(one["name"]): {
            "name": one["name"],
            "help": one["help"],
            "kind": one["kind"],
            "series": {_key(series["labels"]): series for series in one["series"]},
        }
        for one in families
    }


def _key(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _sum(parts: list[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for part in parts:
        for name, family in part.items():
            into = total.setdefault(name, family | {"series": {}})
            if into["kind"] != family["kind"]:
                continue  # a reload has made something else of the name: the older stays
            for key, series in family["series"].items():
                before = into["series"].get(key)
                gauge = family["kind"] == "gauge"
                into["series"][key] = series if before is None or gauge else _add(before, series)
    return total


def _add(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    if "value" in one:
        return other | {"value": one["value"] + other["value"]}
    if one["buckets"] != other["buckets"]:
        return other
    counts = [mine + theirs for mine, theirs in zip(one["counts"], other["counts"], strict=True)]
    return other | {"counts": counts, "sum": one["sum"] + other["sum"]}
