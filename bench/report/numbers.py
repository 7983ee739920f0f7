"""Numbers as people read them: three digits that say something, thousands set apart."""

from __future__ import annotations

from math import floor, log10

from bench.report.figures import Spread

NOTHING = "-"
SPOILED = "†"  # behind what is made from rounds with bad answers


def short(value: float | None) -> str:
    """63427.8 as 63,400, and 13.8007 as 13.8; two digits are enough below one."""
    if value is None:
        return NOTHING
    if isinstance(value, int) or value == 0:  # a count, which is exact
        return f"{value:,.0f}"
    digits = 2 if abs(value) < 1 else 3
    rounded = float(f"{value:.{digits}g}")
    decimals = max(0, digits - 1 - floor(log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}"


def median(found: Spread | None) -> str:
    return short(found.median if found else None)


def ranged(found: Spread) -> str:
    """13.8 (13.6-16.2), without the range where there is only one value."""
    middle, low, high = map(short, (found.median, found.low, found.high))
    return middle if found.low == found.high else f"{middle} ({low}-{high})"


def ratio(found: Spread | None) -> str:
    """0.21 (0.20-0.24), without the range where there is only one round."""
    if found is None:
        return NOTHING
    decimals = 3 if found.median < 0.1 else 2 if found.median < 10 else 1
    middle, low, high = (f"{one:.{decimals}f}" for one in (found.median, found.low, found.high))
    return middle if found.low == found.high else f"{middle} ({low}-{high})"
