"""Medians, spreads and ratios over rounds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.report.figures import CPU, P50, P999, SWITCHES, Spread, measures, scenarios, spread
from bench.results import Round
from tests.bench.made_up import fact_of, round_of, rounds_of


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([], None),
        ([None, None], None),
        ([3.0], Spread(3, 3, 3)),
        ([3.0, 1.0, 2.0], Spread(2, 1, 3)),
        ([1.0, None, 2.0], Spread(1.5, 1, 2)),
    ],
)
def test_a_spread_is_of_the_values_there_are(
    values: Sequence[float | None], wanted: Spread | None
) -> None:
    assert spread(values) == wanted


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (Spread(2, 1, 3), Spread(4, 3, 5), True),
        (Spread(2, 1, 3), Spread(4, 3.1, 5), False),
        (Spread(2, 0, 9), Spread(4, 3, 5), True),
        (Spread(2, 2, 2), Spread(2, 2, 2), True),
    ],
)
def test_ranges_overlap_if_they_share_a_value(one: Spread, other: Spread, wanted: bool) -> None:
    assert one.overlaps(other) is wanted
    assert other.overlaps(one) is wanted


@pytest.mark.parametrize(
    ("ours", "theirs", "wanted"),
    [
        # In the second round the machine was twice as slow: the ratio does not see it.
        ([10, 20, 10], [40, 80, 50], Spread(0.25, 0.2, 0.25)),
        ([10, 20], [40], Spread(0.25, 0.25, 0.25)),
        ([10], [40, 80], Spread(0.25, 0.25, 0.25)),
        ([10], [], None),
        ([10, 20], [0, 80], Spread(0.25, 0.25, 0.25)),
        ([10], [0], None),
    ],
)
def test_a_ratio_is_taken_round_by_round(
    ours: list[float], theirs: list[float], wanted: Spread | None
) -> None:
    (one,) = scenarios([*rounds_of("pyserver", ours), *rounds_of("triton", theirs)])
    assert one.ratio("pyserver", CPU) == wanted


def test_rounds_are_paired_by_their_number_and_not_by_their_place() -> None:
    (one,) = scenarios(
        [
            round_of("pyserver", 0, 10),
            round_of("pyserver", 2, 30),
            round_of("triton", 1, 20),
            round_of("triton", 2, 60),
        ]
    )
    assert one.ratio("pyserver", CPU) == Spread(0.5, 0.5, 0.5)


def test_other_targets_have_a_ratio_to_triton_too() -> None:
    (one,) = scenarios([*rounds_of("mosec", [20]), *rounds_of("triton", [40])])
    assert one.ratio("mosec", CPU) == Spread(0.5, 0.5, 0.5)
    assert one.ratio("triton", CPU) == Spread(1, 1, 1)
    assert one.ratio("pyserver", CPU) is None


@pytest.mark.parametrize("target", ["pyserver", "nobody"])
def test_a_figure_that_no_round_has_is_none(target: str) -> None:
    (one,) = scenarios([round_of(p50_us=None), round_of("triton")])
    assert one.spread(target, P50) is None
    assert one.spread(target, P999) is None
    assert one.ratio(target, P50) is None


def test_a_figure_that_both_have_is_compared_whatever_else_is_missing() -> None:
    (one,) = scenarios([round_of(p50_us=None), round_of("triton")])
    assert one.ratio("pyserver", SWITCHES) == Spread(1, 1, 1)


def test_bad_answers_are_summed_and_their_rounds_counted() -> None:
    (one,) = scenarios([round_of(number=n, bad=bad) for n, bad in enumerate((0, 3, 4))])
    assert (one.bad("pyserver"), one.spoiled("pyserver")) == (7, 2)
    assert (one.bad("triton"), one.spoiled("triton")) == (0, 0)


def test_scenarios_and_targets_come_in_the_order_of_the_run() -> None:
    rounds: list[Round] = []
    for number in range(2):
        for scenario in ("z", "a"):
            for target in ("triton", "pyserver"):
                rounds.append(round_of(target, number, scenario=scenario))
    found = scenarios(rounds)
    assert [one.name for one in found] == ["z", "a"]
    assert [one.targets for one in found] == [["triton", "pyserver"]] * 2


@pytest.mark.parametrize(
    ("ours", "theirs", "wanted"),
    [
        ([2.0], [4.0], Spread(0.5, 0.5, 0.5)),
        ([2.0, 3.0, 1.0], [4.0, 5.0, 2.0], Spread(0.5, 0.2, 1.5)),
        ([2.0], [], None),
        ([2.0], [0.0], None),
    ],
)
def test_the_ratio_of_a_fact_has_the_widest_range_that_repetitions_allow(
    ours: list[float], theirs: list[float], wanted: Spread | None
) -> None:
    facts = [fact_of("pyserver", value) for value in ours]
    (one,) = measures(facts + [fact_of("triton", value) for value in theirs])
    assert one.ratio("pyserver") == wanted


@pytest.mark.parametrize(("unit", "wanted"), [("answers/s", True), ("s", False), ("MiB", False)])
def test_more_of_a_fact_is_better_only_if_it_is_a_rate(unit: str, wanted: bool) -> None:
    (one,) = measures([fact_of("pyserver", 1, unit=unit)])
    assert one.more_is_better is wanted
