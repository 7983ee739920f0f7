"""Plots of what the tables say, for those who would rather look: PNG files for the README.

Colours are Okabe and Ito's, which the colour-blind can tell apart too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.report import numbers
from bench.report.figures import (
    CPU,
    P50,
    P99,
    P999,
    PYSERVER,
    TRITON,
    Figure,
    Scenario,
    scenarios,
)
from bench.report.page import INK, LINE, PALE, Page, need_matplotlib
from bench.results import Results

_COLOURS = {PYSERVER: "#0072B2", TRITON: "#E69F00"}
_OTHERS = ("#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
_WIDE = 20  # a greater span between the least and the most asks for a log scale
_PERCENTILES = ((P50, "o"), (P99, "D"), (P999, "|"))
_RATIOS = ((CPU, _COLOURS[PYSERVER], "o"), (P50, "#D55E00", "D"))


def draw(results: Results, folder: Path) -> list[Path]:
    """Make cpu.png, ratio.png and latency.png in `folder`, as far as there are figures for them.

    Raises:
        RuntimeError: matplotlib is not installed.
    """
    need_matplotlib()
    found = scenarios(results.rounds)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, plot in (("cpu", _cpu), ("ratio", _ratio), ("latency", _latency)):
        page = plot(found)
        if page is not None:
            drawn.append(folder / f"{name}.png")
            page.save(drawn[-1])
    return drawn


def _targets(found: Sequence[Scenario]) -> list[str]:
    """Of all scenarios; pyserver and Triton first."""
    every = dict.fromkeys(target for one in found for target in one.targets)
    return sorted(every, key=lambda one: (one != PYSERVER, one != TRITON))


def _colour(target: str, targets: Sequence[str]) -> str:
    """The same for a target in all its rows; `targets` are those of the plot."""
    others = [one for one in targets if one not in _COLOURS]
    return _COLOURS.get(target) or _OTHERS[others.index(target) % len(_OTHERS)]


def _patches(targets: Sequence[str]) -> list[Any]:
    from matplotlib.patches import Patch

    return [Patch(color=_colour(target, targets), label=target) for target in targets]


def _lines(
    found: Sequence[Scenario], targets: Sequence[str], figure: Figure
) -> list[tuple[Scenario, list[str]]]:
    """Scenarios that have the figure, each with a line for each target that has it."""
    every = [(one, [target for target in targets if one.spread(target, figure)]) for one in found]
    return [(one, lines) for one, lines in every if lines]


def _marked(text: str, one: Scenario, *targets: str) -> str:
    return f"{text} {numbers.SPOILED}" if any(map(one.spoiled, targets)) else text


def _explained(text: str, found: Sequence[Scenario]) -> str:
    """The text below an axis, which says what the mark is if there may be any."""
    if any(one.spoiled(target) for one in found for target in one.targets):
        return f"{text}; {numbers.SPOILED} some answers were bad"
    return text


def _cpu(found: Sequence[Scenario]) -> Page | None:
    """Bars of the median, with a whisker from the least to the most."""
    targets = _targets(found)
    lines = _lines(found, targets, CPU)
    spreads = [one.spread(target, CPU) for one, names in lines for target in names]
    lows = [one.low for one in spreads if one and one.low > 0]
    if not lows:
        return None
    low, high = min(lows), max(one.high for one in spreads if one)
    log = high / low > _WIDE
    start = low / 2 if log else 0.0
    page = Page("CPU time of the server for one request (less is better)", lines)
    for one, y, target in page.lines:
        seen = one.spread(target, CPU)
        if seen is None or seen.median <= start:
            continue
        colour = _colour(target, targets)
        page.axes.barh(y, seen.median - start, LINE * 0.8, left=start, color=colour)
        page.axes.plot([max(seen.low, start), seen.high], [y, y], color=INK, linewidth=0.9)
        page.label(_marked(numbers.short(seen.median), one, target), seen.high, y)
    page.x_axis(
        _explained("µs, median and range of all rounds", found),
        start,
        high * (high / low) ** 0.12 if log else high * 1.12,
        log=log,
    )
    page.legend(_patches(targets))
    return page


def _ratio(found: Sequence[Scenario]) -> Page | None:
    """pyserver over Triton: dots with whiskers, left of 1 where pyserver takes less."""
    from matplotlib.lines import Line2D

    kinds = [figure.name for figure, _, _ in _RATIOS]
    both = [(one, kinds) for one in found if one.ratio(PYSERVER, CPU)]
    if not both:
        return None
    page = Page("pyserver / Triton (left of 1: pyserver takes less)", both)
    page.axes.axvline(1, color=INK, linewidth=1.2)
    low = high = 1.0
    look = {figure.name: (figure, colour, marker) for figure, colour, marker in _RATIOS}
    for one, y, name in page.lines:
        figure, colour, marker = look[name]
        seen = one.ratio(PYSERVER, figure)
        if seen is None or seen.low <= 0:
            continue
        low, high = min(low, seen.low), max(high, seen.high)
        page.axes.plot([seen.low, seen.high], [y, y], color=colour, linewidth=2, alpha=0.45)
        page.axes.plot(seen.median, y, marker, color=colour, markersize=6)
        page.label(_marked(numbers.short(seen.median), one, PYSERVER, TRITON), seen.high, y)
    text = _explained("ratio round by round, its median and range", found)
    page.x_axis(text, low / 1.15, high * (high / low) ** 0.12, log=True)
    page.legend(
        [
            Line2D([], [], color=colour, marker=marker, linewidth=2, label=figure.title)
            for figure, colour, marker in _RATIOS
        ]
    )
    return page


def _latency(found: Sequence[Scenario]) -> Page | None:
    """From the median to the last percentile there is, a line for each target."""
    targets = _targets(found)
    timed = _lines(found, targets, P50)
    if not timed:
        return None
    page = Page("Latency as the client saw it (less is better)", timed)
    every: list[float] = []
    for one, y, target in page.lines:
        colour = _colour(target, targets)
        seen = [(one.spread(target, figure), marker) for figure, marker in _PERCENTILES]
        points = [(spread.median / 1000, marker) for spread, marker in seen if spread]
        page.axes.plot(
            [x for x, _ in points], [y] * len(points), color=colour, linewidth=1.8, alpha=0.6
        )
        for x, marker in points:
            page.axes.plot(x, y, color=colour, zorder=3, **_shape(marker, colour))
        if one.spoiled(target):
            page.label(numbers.SPOILED, points[-1][0], y)
        every += [x for x, _ in points if x > 0]
    text = _explained("ms, medians over rounds", found)
    page.x_axis(text, min(every, default=1) / 1.3, max(every, default=1) * 1.3, log=True)
    page.legend([*_patches(targets), *_percentiles()])
    return page


def _shape(marker: str, colour: str) -> dict[str, Any]:
    """Full for p50, hollow for p99."""
    face = "white" if marker == "D" else colour
    return {
        "marker": marker,
        "markerfacecolor": face,
        "markersize": 6,
        "markeredgewidth": 1.6,
        "linestyle": "",
    }


def _percentiles() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=PALE, label=figure.title.removesuffix(" µs"), **_shape(marker, PALE))
        for figure, marker in _PERCENTILES
    ]
