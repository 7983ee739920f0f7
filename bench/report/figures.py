"""Statistics over rounds: medians, spreads and ratios of every scenario, as pure functions.

A ratio is taken round by round: two servers' rounds of the same number ran one after the other, so
what the machine did meanwhile hit both and divides out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.results import Fact, Results, Round

PYSERVER = "pyserver"
TRITON = "triton"  # what the others are divided by


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured property of a round: `name` is its field, `title` has the unit."""

    name: str
    title: str
    more_is_better: bool = False


PER_SECOND = Figure("per_second", "requests/s", more_is_better=True)
CPU = Figure("cpu_us", "CPU µs/request")
P50 = Figure("p50_us", "p50 µs")
P99 = Figure("p99_us", "p99 µs")
P999 = Figure("p999_us", "p99.9 µs")
SWITCHES = Figure("switches", "switches/request")
RSS = Figure("rss_mib", "RSS MiB")
FIGURES = (PER_SECOND, CPU, P50, P99, P999, SWITCHES, RSS)


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over its rounds: the median, and the least and the most that was seen."""

    median: float
    low: float
    high: float

    def overlaps(self, other: Spread) -> bool:
        return self.low <= other.high and other.low <= self.high


def spread(values: Iterable[float | None]) -> Spread | None:
    """None unless there is a value."""
    found = [value for value in values if value is not None]
    return Spread(median(found), min(found), max(found)) if found else None


@dataclass(frozen=True, slots=True)
class Scenario:
    """All rounds of one scenario by target, targets in the order in which they were measured."""

    section: str
    name: str
    title: str
    load: str
    rounds: Mapping[str, Sequence[Round]]

    @property
    def targets(self) -> list[str]:
        return list(self.rounds)

    def spread(self, target: str, figure: Figure) -> Spread | None:
        """None where the target was not measured, or its load generator has no such figure."""
        return spread(getattr(one, figure.name) for one in self.rounds.get(target, ()))

    def ratio(self, target: str, figure: Figure, to: str = TRITON) -> Spread | None:
        """The target's figure over that of another one, over all rounds that both have."""
        theirs = {one.number: getattr(one, figure.name) for one in self.rounds.get(to, ())}
        return spread(
            _quotient(getattr(one, figure.name), theirs.get(one.number))
            for one in self.rounds.get(target, ())
        )

    def bad(self, target: str) -> int:
        return sum(one.bad for one in self.rounds.get(target, ()))

    def spoiled(self, target: str) -> int:
        """How many rounds had bad answers. They count in all figures, so these must be marked."""
        return sum(one.bad != 0 for one in self.rounds.get(target, ()))


def _quotient(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


@dataclass(frozen=True, slots=True)
class Measure:
    """A fact with all its repetitions, by target."""

    section: str
    name: str
    title: str
    unit: str
    values: Mapping[str, Spread]

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith("/s")

    def ratio(self, target: str) -> Spread | None:
        """The target's value over Triton's. Repetitions are no pairs, so the range is the widest
        that they allow.
        """
        ours, theirs = self.values.get(target), self.values.get(TRITON)
        if ours is None or theirs is None or theirs.low <= 0:
            return None
        return Spread(ours.median / theirs.median, ours.low / theirs.high, ours.high / theirs.low)


def scenarios(rounds: Iterable[Round]) -> list[Scenario]:
    """In the order in which they were measured first."""
    found: dict[str, dict[str, list[Round]]] = {}
    for one in rounds:
        found.setdefault(one.scenario, {}).setdefault(one.target, []).append(one)
    made = []
    for name, by_target in found.items():
        first = next(iter(by_target.values()))[0]
        made.append(Scenario(first.section, name, first.title, first.load, by_target))
    return made


def measures(facts: Iterable[Fact]) -> list[Measure]:
    """In the order in which they were taken first."""
    firsts: dict[str, Fact] = {}
    found: dict[str, dict[str, list[float]]] = {}
    for one in facts:
        firsts.setdefault(one.scenario, one)
        found.setdefault(one.scenario, {}).setdefault(one.target, []).append(one.value)
    made = []
    for name, by_target in found.items():
        values = {target: Spread(median(v), min(v), max(v)) for target, v in by_target.items()}
        first = firsts[name]
        made.append(Measure(first.section, name, first.title, first.unit, values))
    return made


def sections(results: Results) -> list[str]:
    """Chapters of the table: first those with rounds, then those with facts alone."""
    of_rounds = [one.section for one in results.rounds]
    return list(dict.fromkeys([*of_rounds, *(one.section for one in results.facts)]))
