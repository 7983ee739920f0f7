"""What became worse or better between two files of results, for people and for CI.

Where both files have Triton in a scenario, ratios to it are compared: a slower machine or a noisy
hour changes both servers' figures, but hardly their ratio. Else there are only the figures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from pathlib import Path

from bench.report import numbers
from bench.report.figures import (
    CPU,
    P50,
    P99,
    PER_SECOND,
    PYSERVER,
    TRITON,
    Measure,
    Scenario,
    Spread,
    measures,
    scenarios,
)
from bench.report.machine import LOAD_AVERAGE
from bench.results import Header, Results

_FIGURES = (CPU, PER_SECOND, P50, P99)


class Outcome(StrEnum):
    WORSE = "worse"
    BETTER = "better"
    SAME = "same"
    ONLY_OLD = "only in the old file"
    ONLY_NEW = "only in the new file"


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one figure of one scenario of pyserver; `figure` is "" where a file lacks them all.

    `old` and `new` are ratios to Triton if `relative`.
    """

    outcome: Outcome
    title: str
    load: str
    figure: str
    old: Spread | None = None
    new: Spread | None = None
    relative: bool = False
    spoiled: bool = False  # some of its rounds, or Triton's, had bad answers


@dataclass(frozen=True, slots=True)
class _Compared:
    """A figure as one file has it."""

    plain: Spread
    ratio: Spread | None
    more_is_better: bool


@dataclass(frozen=True, slots=True)
class _Side:
    """A scenario, or a fact, as one file has it: figures by their title."""

    title: str
    load: str
    bad: int
    spoiled: bool
    figures: Mapping[str, _Compared]


def compare(old: Results, new: Results, allowed: float) -> list[Verdict]:
    """A figure is worse if it is so by more than the factor `allowed`, and its range over the
    rounds lies outside the old one; better likewise. Bad answers where there were none are worse.

    Raises:
        ValueError: `allowed` is below 1.
    """
    if not allowed >= 1:
        raise ValueError(f"allowed is {allowed}; it must be 1 or more: the factor that may be lost")
    before, after = _sides(old), _sides(new)
    verdicts: list[Verdict] = []
    for name, side in {**before, **after}.items():
        if name not in after:
            verdicts.append(Verdict(Outcome.ONLY_OLD, side.title, side.load, ""))
        elif name not in before:
            verdicts.append(Verdict(Outcome.ONLY_NEW, side.title, side.load, ""))
        else:
            verdicts += _compare_sides(before[name], side, allowed)
    return verdicts


def _sides(results: Results) -> dict[tuple[str, str], _Side]:
    """pyserver's, by kind and name."""
    found: dict[tuple[str, str], _Side] = {}
    for one in scenarios(results.rounds):
        if PYSERVER in one.targets:
            found["load", one.name] = _Side(
                one.title,
                one.load,
                one.bad(PYSERVER),
                any(map(one.spoiled, (PYSERVER, TRITON))),
                dict(_figures(one)),
            )
    for fact in measures(results.facts):
        if PYSERVER in fact.values:
            found["fact", fact.name] = _Side(fact.title, "", 0, False, dict(_fact_figure(fact)))
    return found


def _figures(one: Scenario) -> Iterator[tuple[str, _Compared]]:
    for figure in _FIGURES:
        plain = one.spread(PYSERVER, figure)
        if plain is not None:
            yield figure.title, _Compared(plain, one.ratio(PYSERVER, figure), figure.more_is_better)


def _fact_figure(fact: Measure) -> Iterator[tuple[str, _Compared]]:
    plain = fact.values[PYSERVER]
    yield fact.unit, _Compared(plain, fact.ratio(PYSERVER), fact.more_is_better)


def _compare_sides(old: _Side, new: _Side, allowed: float) -> Iterator[Verdict]:
    spoiled = old.spoiled or new.spoiled
    if bool(old.bad) != bool(new.bad):  # how many they are is chance
        outcome = Outcome.WORSE if new.bad else Outcome.BETTER
        before, after = (Spread(one.bad, one.bad, one.bad) for one in (old, new))
        yield Verdict(outcome, new.title, new.load, "bad answers", before, after)
    for figure in dict.fromkeys((*old.figures, *new.figures)):
        first, second = old.figures.get(figure), new.figures.get(figure)
        if first is None or second is None:
            outcome = Outcome.ONLY_NEW if first is None else Outcome.ONLY_OLD
            yield Verdict(outcome, new.title, new.load, figure, spoiled=spoiled)
            continue
        before, after, relative = first.plain, second.plain, False
        if first.ratio is not None and second.ratio is not None:
            before, after, relative = first.ratio, second.ratio, True
        yield Verdict(
            _judge(before, after, allowed, more_is_better=first.more_is_better),
            new.title,
            new.load,
            figure,
            before,
            after,
            relative,
            spoiled,
        )


def _judge(old: Spread, new: Spread, allowed: float, *, more_is_better: bool) -> Outcome:
    if old.overlaps(new):
        return Outcome.SAME
    loss, gain = _growth(old.median, new.median), _growth(new.median, old.median)
    if more_is_better:
        loss, gain = gain, loss
    if loss > allowed:
        return Outcome.WORSE
    return Outcome.BETTER if gain > allowed else Outcome.SAME


def _growth(first: float, second: float) -> float:
    if first:
        return second / first
    return inf if second else 1.0


def report(old: Header, new: Header, verdicts: Sequence[Verdict]) -> str:
    """What is worse, better, or in one file only, line by line; of what is the same, how much."""
    lines = [f"old: {old.date}, {old.command}", f"new: {new.date}, {new.command}"]
    lines += _differences("machines", old.machine, new.machine, "; so only ratios say much")
    lines += _differences("versions", old.versions, new.versions)
    shown = [
        one
        for kind in Outcome
        if kind is not Outcome.SAME
        for one in verdicts
        if one.outcome is kind
    ]
    if shown:
        lines += ["", *_aligned([_HEADS, *map(_cells, shown)])]
    counts = [(kind, sum(one.outcome is kind for one in verdicts)) for kind in Outcome]
    said = ", ".join(f"{count} {kind}" for kind, count in counts if count)
    lines += ["", said or "nothing of pyserver's in either file"]
    if any(one.spoiled for one in shown):
        lines.append(f"{numbers.SPOILED} of rounds with answers that were bad")
    return "\n".join(lines)


_HEADS = ("", "scenario", "load", "figure", "old", "new", "new / old", "compared")


def _cells(one: Verdict) -> tuple[str, ...]:
    spoiled = f" {numbers.SPOILED}" if one.spoiled else ""
    names = (one.outcome.value, one.title, one.load, one.figure + spoiled)
    if one.old is None or one.new is None:
        return (*names, "", "", "", "")
    shown = numbers.ratio if one.relative else numbers.ranged
    growth = _growth(one.old.median, one.new.median)
    change = numbers.NOTHING if growth == inf else f"{growth:.2f}"
    what = "ratio to Triton" if one.relative else "the figure itself"
    return (*names, shown(one.old), shown(one.new), change, what)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _differences(
    what: str, old: Mapping[str, str], new: Mapping[str, str], so: str = ""
) -> list[str]:
    found = [
        f"{name} {old.get(name, 'unknown')} -> {new.get(name, 'unknown')}"
        for name in dict.fromkeys((*old, *new))
        if name != LOAD_AVERAGE and old.get(name) != new.get(name)
    ]
    return [f"{what} differ: {', '.join(found)}{so}"] if found else []


def main(old_path: Path, new_path: Path, allowed: float = 1.10) -> int:
    """Print what differs; 1 if anything is worse, 2 if a file cannot be read."""
    try:
        old, new = Results.read(old_path), Results.read(new_path)
        verdicts = compare(old, new, allowed)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(report(old.header, new.header, verdicts))
    return 1 if any(one.outcome is Outcome.WORSE for one in verdicts) else 0
