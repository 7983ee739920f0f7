"""What pyserver shall be, against what it was measured to be: the table that bench/README.md begins
with, missed goals first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bench.report import numbers
from bench.report.figures import (
    CPU,
    P50,
    P999,
    PER_SECOND,
    PYSERVER,
    TRITON,
    Figure,
    Scenario,
    Spread,
    scenarios,
)
from bench.report.markdown import LEFT, RIGHT, markdown_table
from bench.results import Results


@dataclass(frozen=True, slots=True)
class Goal:
    """pyserver's figure over `to`'s shall be at most `limit`, or at least where more is better, in
    every scenario of these names, where `*` stands for anything.
    """

    scenarios: tuple[str, ...]
    figure: Figure
    limit: float
    to: str = TRITON

    def holds(self, ratio: float) -> bool:
        return ratio >= self.limit if self.figure.more_is_better else ratio <= self.limit

    def distance(self, ratio: float) -> float:
        """How far off, as a factor; above 1 the goal is missed."""
        return self.limit / ratio if self.figure.more_is_better else ratio / self.limit

    def is_of(self, scenario: str) -> bool:
        return any(fnmatchcase(scenario, pattern) for pattern in self.scenarios)


GOALS = (
    Goal(("http-small-*",), CPU, 0.33),
    Goal(("grpc-small-*",), CPU, 0.2),
    Goal(("json-10000",), CPU, 0.25),
    Goal(("*-python-identity-*",), CPU, 0.25),
    Goal(("*-600k",), CPU, 0.5),
    Goal(("http-small-1", "grpc-small-1x1", "http-python-identity-1"), P50, 0.6),
    Goal(("onnx-*",), PER_SECOND, 0.95, to="onnxruntime"),
    Goal(("open-*",), P999, 1.0),
    Goal(("cache-*",), CPU, 0.5),
    Goal(
        ("python-dynamic-16", "python-dynamic-64", "python-plain-16", "python-plain-64"), CPU, 0.33
    ),
    Goal(("python-dynamic-1", "python-plain-1"), P50, 0.5),
    Goal(("bls-*-call",), CPU, 0.33),
    Goal(("bls-*-call",), P50, 0.33),
)


def table(results: Results) -> str:
    """Each goal in each of its scenarios that was measured; those that are furthest off first."""
    found = list(_measured(results))
    found.sort(key=lambda one: -one[0].distance(one[2].median))
    missed = sum(not goal.holds(ratio.median) for goal, _, ratio in found)
    columns = [("", LEFT), ("load", LEFT), ("figure", LEFT), ("to", LEFT)]
    columns += [("goal", RIGHT), ("measured", RIGHT), ("", LEFT)]
    lines = [
        [
            one.title,
            one.load,
            goal.figure.title,
            goal.to,
            f"{'≥' if goal.figure.more_is_better else '≤'} {goal.limit:g}",
            numbers.ratio(ratio),
            "held" if goal.holds(ratio.median) else "**missed**",
        ]
        for goal, one, ratio in found
    ]
    day = results.header.date.partition("T")[0]
    said = f"{day}: of {len(found)} goals {len(found) - missed} are held, {missed} missed."
    return f"{said}\n\n{markdown_table(columns, lines)}\n"


def _measured(results: Results) -> Iterator[tuple[Goal, Scenario, Spread]]:
    for one in scenarios(results.rounds):
        for goal in GOALS:
            ratio = one.ratio(PYSERVER, goal.figure, goal.to) if goal.is_of(one.name) else None
            if ratio is not None:
                yield goal, one, ratio
