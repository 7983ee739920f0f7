"""Triton's own clients load, unload and ask as they do with the real server, and see the same
states and texts, but for the differences that differing.py lists with their reasons.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle_surface.differing import DIFFERING, wanted_instead
from tests.lifecycle_surface.notes import by_place
from tests.lifecycle_surface.servers import SurfaceServers
from tests.lifecycle_surface.table import LATER, RUNS, TABLE
from tests.scheduling.compare import differences, stable
from tests.wire.servers import TARGET

RECORDED: dict[str, Any] = json.loads(
    Path(__file__).with_name("recorded.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def surface_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SurfaceServers]:
    servers = SurfaceServers(tmp_path_factory.mktemp("lifecycle"), TARGET, TABLE)
    try:
        yield servers
    finally:
        codes = servers.stop()
    assert set(codes.values()) <= {0}, f"exit codes after SIGTERM: {codes}"


def test_every_scenario_has_something_to_compare_with() -> None:
    assert len({scenario.name for scenario in TABLE}) == len(TABLE)
    assert list(RECORDED) == list(RUNS)
    models = [one.name for scenario in TABLE if not scenario.setup for one in scenario.folders]
    assert len(set(models)) == len(models)


def test_each_listed_difference_is_one() -> None:
    for name, places in DIFFERING.items():
        notes = by_place(RECORDED[name])
        for place, (reason, instead) in places.items():
            assert reason
            assert notes[place] != instead, f"{name}: {place} is no difference"


@pytest.mark.parametrize("name", [name for name in RUNS if name not in LATER])
def test_models_come_and_go_as_on_triton(surface_servers: SurfaceServers, name: str) -> None:
    wanted = RECORDED[name] if TARGET == "triton" else wanted_instead(name, RECORDED[name])
    scenario, protocol = RUNS[name]
    seen = stable(surface_servers.run(scenario, protocol, wanted))
    found = differences(by_place(wanted), by_place(seen))
    assert not found, "\n".join(found)
