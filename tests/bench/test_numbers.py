"""Numbers as the tables write them."""

from __future__ import annotations

import pytest

from bench.report import numbers
from bench.report.figures import Spread


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, "-"),
        (0.0, "0"),
        (63427.78, "63,400"),
        (1234567.8, "1,230,000"),
        (2211.0, "2,210"),
        (999.7, "1,000"),
        (110.04, "110"),
        (99.96, "100"),
        (13.8007, "13.8"),
        (1.999, "2.00"),
        (0.9951, "1.0"),
        (0.3219, "0.32"),
        (0.0294, "0.029"),
        (12345, "12,345"),
        (-13.84, "-13.8"),
    ],
)
def test_three_digits_of_a_number_are_written(value: float | None, wanted: str) -> None:
    assert numbers.short(value) == wanted


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (None, "-"),
        (Spread(0.213, 0.204, 0.236), "0.21 (0.20-0.24)"),
        (Spread(0.05, 0.0499, 0.101), "0.050 (0.050-0.101)"),
        (Spread(12.34, 9.99, 15), "12.3 (10.0-15.0)"),
        (Spread(1.5, 1.5, 1.5), "1.50"),
    ],
)
def test_a_ratio_is_written_with_its_range(found: Spread | None, wanted: str) -> None:
    assert numbers.ratio(found) == wanted


@pytest.mark.parametrize(
    ("found", "wanted"),
    [(Spread(13.8, 13.55, 16.22), "13.8 (13.6-16.2)"), (Spread(13.8, 13.8, 13.8), "13.8")],
)
def test_a_figure_is_written_with_its_range(found: Spread, wanted: str) -> None:
    assert numbers.ranged(found) == wanted
