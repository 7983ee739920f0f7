"""The page that every plot is drawn on: names of scenarios at the left, from top to bottom.

What is drawn beside each name is the plot's own.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report.figures import Scenario

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, PALE, _GRID = "#222222", "#6b6b6b", "#e4e4e4"
LINE = 0.2  # inches for one line of marks
_WIDTH = 9.0  # inches; with _DPI about half more than a README is wide
_DPI = 150
_NAMES = 3.3  # inches at the left for the names of scenarios
_LETTERS = 46  # as many as fit there
_TOP, _BOTTOM = 1.0, 0.5  # inches for the title and the legend, and below the axis
_TEXT = 0.34  # inches of the two lines of text there
_GAP = 0.17  # inches between scenarios
_COLOURS = 48  # as many as a file has, which makes it a third as large

_Heads = list[tuple[float, str]]  # the middle of a section's name
_Names = list[tuple[float, Scenario]]  # the middle between a scenario's two lines of text


def need_matplotlib() -> None:
    """Raises RuntimeError, which says what to do, where it is not installed."""
    if find_spec("matplotlib") is None:
        raise RuntimeError("plots need matplotlib: pip install matplotlib")


class Page:
    """A figure with one set of axes, as high as its scenarios need; y is inches from the top.

    `lines` is for the plot: scenario, y, and what the line is for, which is the plot's to say.
    """

    def __init__(self, title: str, rows: Sequence[tuple[Scenario, Sequence[str]]]) -> None:
        # Not pyplot, which keeps a list of its figures and would look for a screen.
        from matplotlib.figure import Figure

        heads, names, deep = self._place(rows)
        height = deep + _TOP + _BOTTOM
        self._figure = Figure(figsize=(_WIDTH, height), facecolor="white")
        self.axes: Axes = self._figure.add_axes(
            (_NAMES / _WIDTH, _BOTTOM / height, 1 - (_NAMES + 0.25) / _WIDTH, deep / height)
        )
        self.axes.set_ylim(deep, 0)
        self.axes.set_yticks([])
        self.axes.tick_params(
            axis="x", which="both", colors=PALE, labelsize=8.5, length=0, labeltop=True
        )
        self.axes.grid(axis="x", color=_GRID, linewidth=0.8)
        self.axes.set_axisbelow(True)
        for side in ("top", "left", "right", "bottom"):
            self.axes.spines[side].set_visible(False)
        self._figure.text(
            0.15 / _WIDTH,
            1 - 0.28 / height,
            title,
            fontsize=13,
            fontweight="bold",
            color=INK,
            va="center",
        )
        self._height = height
        self._write_names(heads, names)

    def _place(
        self, rows: Sequence[tuple[Scenario, Sequence[str]]]
    ) -> tuple[_Heads, _Names, float]:
        """Where everything goes, and how deep it all is."""
        self.lines: list[tuple[Scenario, float, str]] = []
        names: _Names = []
        heads: _Heads = []
        y, section = 0.0, None
        for scenario, keys in rows:
            if scenario.section != section:
                section = scenario.section
                y += 0.12 if heads else 0.0
                heads.append((y + 0.14, section))
                y += 0.38
            height = max(len(keys) * LINE, _TEXT)
            names.append((y + height / 2, scenario))
            first = y + (height - (len(keys) - 1) * LINE) / 2
            self.lines += [(scenario, first + n * LINE, key) for n, key in enumerate(keys)]
            y += height + _GAP
        return heads, names, y

    def _write_names(self, heads: _Heads, names: _Names) -> None:
        left = -(_NAMES - 0.15) / (_WIDTH - _NAMES - 0.25)
        place: dict[str, Any] = {"transform": self.axes.get_yaxis_transform(), "va": "center"}
        for y, section in heads:
            self.axes.text(left, y, section, fontsize=10, fontweight="bold", color=INK, **place)
        for middle, scenario in names:
            self.axes.text(
                left,
                middle - 0.085,
                scenario.title,
                fontsize=9.5 * min(1, _LETTERS / max(1, len(scenario.title))),
                color=INK,
                **place,
            )
            self.axes.text(left, middle + 0.09, scenario.load, fontsize=8, color=PALE, **place)

    def legend(self, marks: Sequence[Any]) -> None:
        self._figure.legend(
            handles=marks,
            loc="center left",
            bbox_to_anchor=(0.15 / _WIDTH, 1 - 0.58 / self._height),
            ncols=len(marks),
            frameon=False,
            fontsize=9,
            labelcolor=INK,
            handletextpad=0.5,
            columnspacing=1.6,
            borderpad=0,
            borderaxespad=0,
        )

    def x_axis(self, label: str, low: float, high: float, *, log: bool) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        if log:
            self.axes.set_xscale("log")
            few = high / low < 300
            self.axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
            self.axes.xaxis.set_minor_formatter(NullFormatter())
        self.axes.set_xlim(low, high)
        self.axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        self.axes.set_xlabel(f"{label} (log scale)" if log else label, fontsize=9, color=PALE)

    def label(self, text: str, x: float, y: float) -> None:
        """Right of a mark."""
        self.axes.annotate(
            text,
            (x, y),
            xytext=(6, 0),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            va="center_baseline",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )

    def save(self, path: Path) -> None:
        from PIL import Image  # which matplotlib needs itself

        drawn = io.BytesIO()
        self._figure.savefig(drawn, dpi=_DPI)
        image = Image.open(drawn).convert("RGB").quantize(_COLOURS)
        image.save(path, optimize=True, dpi=(_DPI, _DPI))
