"""The servers of the scenarios, shared by all of them; at the end each must stop by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scheduling.servers import SchedulingServers
from tests.scheduling.steps import Scenario
from tests.scheduling.table import MODELS
from tests.wire.servers import TARGET


@pytest.fixture(scope="session")
def scheduling_servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SchedulingServers]:
    chosen = [
        item.callspec.params["scenario"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and isinstance(item.callspec.params.get("scenario"), Scenario)
    ]
    servers = SchedulingServers(tmp_path_factory.mktemp("scheduling"), MODELS, TARGET, chosen)
    try:
        yield servers
    finally:
        codes = servers.stop()
    assert set(codes.values()) <= {0}, f"exit codes after SIGTERM: {codes}"
