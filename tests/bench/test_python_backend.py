"""The Python backend's own figures: what one call costs, and what a batch costs in its instance."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import python_backend, python_batch
from bench.asking import check
from bench.python_backend import CALL_KINDS, CALLS, Call
from bench.results import Round
from bench.targets.pyserver import Pyserver
from tests.bench.made_up import round_of
from tests.serving import serving


def _round(kind: Call, calls: int, number: int, cpu_us: float, p50_us: float | None) -> Round:
    name = kind.scenario(calls).name
    return round_of(
        "pyserver", scenario=name, number=number, cpu_us=cpu_us, p50_us=p50_us, per_second=10
    )


def test_a_call_costs_the_difference_of_the_two_rounds_of_one_number() -> None:
    kind = CALL_KINDS[0]
    rounds = [
        _round(kind, 0, 0, 100, 50),
        _round(kind, 0, 1, 200, None),
        _round(kind, CALLS, 0, 100 + 40 * CALLS, 50 + 30 * CALLS),
        _round(kind, CALLS, 1, 200 + 60 * CALLS, 50),
        _round(kind, CALLS, 2, 1, 1),
    ]
    made = python_backend.calls(rounds)
    assert [(one.number, one.cpu_us, one.p50_us) for one in made] == [(0, 40, 30), (1, 60, None)]
    assert {one.scenario for one in made} == {kind.name}
    assert {one.per_second for one in made} == {10 * CALLS}
    assert python_backend.with_calls(rounds) == [*rounds, *made]


def test_names_are_those_of_one_thing_each() -> None:
    names = [one.name for one in (*python_backend.SCENARIOS, *CALL_KINDS)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", CALL_KINDS, ids=lambda kind: kind.name)
def test_models_that_call_give_the_number_of_their_calls(kind: Call, tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    scenario = kind.scenario(CALLS)
    path, _ = Pyserver(tmp_path / "unused").lay_out(scenario.deployed, served)
    with serving(tmp_path / "log", path) as server:
        check(server, scenario.workload)
        check(server, kind.scenario(0).workload)


def test_a_batch_is_driven_without_a_server() -> None:
    figures = python_batch.measure(batches=2)
    assert set(figures) == set(python_batch.SIZES)
    for steps in figures.values():
        assert len(steps) == len(python_batch.STEPS)
        assert all(step > 0 for step in steps)
