"""The table of goals that bench/README.md begins with."""

from __future__ import annotations

import pytest

from bench import python_backend
from bench.report import goals
from bench.report.figures import CPU, PER_SECOND
from bench.scenarios import SCENARIOS
from tests.bench.made_up import results_of, round_of, rounds_of

_TABLE = """\
2026-11-28: of 3 goals 2 are held, 1 missed.

|  | load | figure | to | goal | measured |  |
|---|---|---|---|--:|--:|---|
| identity over http-small-64 | wrk, 1 connection | CPU µs/request | triton | ≤ 0.33 | 0.40 | **missed** |
| identity over onnx-16 | wrk, 1 connection | requests/s | onnxruntime | ≥ 0.95 | 0.97 | held |
| identity over json-10000 | wrk, 1 connection | CPU µs/request | triton | ≤ 0.25 | 0.20 (0.10-0.30) | held |
"""  # noqa: E501


def test_missed_goals_come_first_and_then_those_that_are_nearly() -> None:
    results = results_of(
        [
            *rounds_of("pyserver", [1, 2, 3], "json-10000"),
            *rounds_of("triton", [10, 10, 10], "json-10000"),
            *rounds_of("pyserver", [4], "http-small-64"),
            *rounds_of("triton", [10], "http-small-64"),
            round_of("pyserver", scenario="onnx-16", per_second=970),
            round_of("onnxruntime", scenario="onnx-16", per_second=1000),
            *rounds_of("pyserver", [1], "of no goal"),
            *rounds_of("triton", [1], "of no goal"),
        ]
    )
    assert goals.table(results) == _TABLE


def test_a_goal_needs_both_servers() -> None:
    results = results_of(rounds_of("pyserver", [1], "json-10000"))
    assert "of 0 goals" in goals.table(results)


def test_more_of_what_is_better_holds_a_goal() -> None:
    at_most, at_least = goals.Goal(("a",), CPU, 0.5), goals.Goal(("a",), PER_SECOND, 0.95)
    assert at_most.holds(0.5) and not at_most.holds(0.51)
    assert at_least.holds(0.95) and not at_least.holds(0.94)


@pytest.mark.parametrize("goal", goals.GOALS, ids=lambda goal: goal.scenarios[0])
def test_every_goal_is_of_scenarios_that_there_are(goal: goals.Goal) -> None:
    for pattern in goal.scenarios:
        one = goals.Goal((pattern,), goal.figure, goal.limit)
        there = (*SCENARIOS, *python_backend.SCENARIOS, *python_backend.CALL_KINDS)
        measured = [found for found in there if one.is_of(found.name)]
        assert measured
        assert all({"pyserver", goal.to} <= set(found.targets) for found in measured)
