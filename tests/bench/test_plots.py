"""Plots are made where there is something to plot, under names that stay."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.report import plots
from bench.results import Results, Round
from tests.bench.made_up import BOTH, fact_of, results_of, round_of, rounds_of


def _many() -> list[Round]:
    """Thirty scenarios, so that the size of a file is a full run's."""
    return [
        round_of(target, number, cpu * 1.2**scenario, scenario=f"s{scenario}", section=section)
        for section, first in (("Small tensors", 0), ("Large tensors", 15))
        for scenario in range(first, first + 15)
        for target, cpu in (("pyserver", 10), ("triton", 40), ("mosec", 30))
        for number in range(2)
    ]


@pytest.mark.parametrize(
    ("results", "wanted"),
    [
        (BOTH, ["cpu.png", "ratio.png", "latency.png"]),
        (results_of(rounds_of("pyserver", [1, 2])), ["cpu.png", "latency.png"]),
        (
            results_of([round_of(p50_us=None), round_of("triton", p50_us=None)]),
            ["cpu.png", "ratio.png"],
        ),
        (
            results_of([round_of(bad=1), round_of("triton", cpu_us=9000)]),
            ["cpu.png", "ratio.png", "latency.png"],
        ),
        (
            results_of([round_of(cpu_us=0.0, p50_us=0.0), round_of("triton")]),
            ["cpu.png", "ratio.png", "latency.png"],
        ),
        (results_of(rounds_of("pyserver", [0])), ["latency.png"]),
        (results_of(facts=[fact_of("pyserver", 1)]), []),
        (results_of(_many()), ["cpu.png", "ratio.png", "latency.png"]),
    ],
)
def test_a_plot_is_made_of_what_there_is(
    tmp_path: Path, results: Results, wanted: list[str]
) -> None:
    pytest.importorskip("matplotlib")
    drawn = plots.draw(results, tmp_path / "new" / "folder")
    assert [path.name for path in drawn] == wanted
    for path in drawn:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size < 150_000


def test_the_same_results_give_the_same_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    first, second = (plots.draw(BOTH, tmp_path / name) for name in ("a", "b"))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RuntimeError, match="pip install matplotlib"):
        plots.draw(BOTH, tmp_path)
