"""pyserver schedules as the real Triton does: the same answers, the same batches, the same errors,
in every scenario, but for the differences that are listed with their reasons in differing.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.scheduling.compare import differences, stable
from tests.scheduling.differing import DIFFERING
from tests.scheduling.servers import SchedulingServers
from tests.scheduling.steps import Scenario
from tests.scheduling.table import BY_NAME, MODELS, TABLE
from tests.wire.servers import TARGET

RECORDED: dict[str, Any] = json.loads(
    Path(__file__).with_name("recorded.json").read_text(encoding="utf-8")
)


def _wanted(name: str) -> Any:
    recorded = RECORDED[name]
    return DIFFERING[name].instead_of(recorded) if name in DIFFERING else recorded


def test_every_scenario_has_something_to_compare_with() -> None:
    assert len(BY_NAME) == len(TABLE)
    assert [name for name in BY_NAME if name not in RECORDED] == []
    assert [name for name in (*RECORDED, *DIFFERING) if name not in BY_NAME] == []
    assert len({model.name for model in MODELS}) == len(MODELS)


@pytest.mark.parametrize("name", [name for name, each in DIFFERING.items() if not each.varies])
def test_a_listed_difference_is_one(name: str) -> None:
    assert differences(RECORDED[name], _wanted(name)) != []


@pytest.mark.parametrize("scenario", TABLE, ids=lambda scenario: scenario.name)
def test_schedules_as_triton_does(
    scheduling_servers: SchedulingServers, scenario: Scenario
) -> None:
    seen = stable(scheduling_servers.driver(scenario.server).run(scenario))
    wanted = RECORDED[scenario.name] if TARGET == "triton" else _wanted(scenario.name)
    found = differences(wanted, seen)
    assert not found, "\n".join(found)
    assert scheduling_servers.alive(scenario.server)
