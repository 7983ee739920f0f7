"""All scenarios, and all models of the repository they run in."""

from __future__ import annotations

from tests.scheduling import (
    table_dynamic,
    table_ensemble,
    table_ensemble_loading,
    table_queue_policies,
    table_sequence,
    table_sequence_ids,
    table_servers,
)
from tests.scheduling.repository import Model
from tests.scheduling.steps import Scenario

_TABLES = (
    table_dynamic,
    table_queue_policies,
    table_sequence,
    table_sequence_ids,
    table_ensemble,
    table_ensemble_loading,
    table_servers,
)

MODELS: tuple[Model, ...] = tuple(each for table in _TABLES for each in table.MODELS)
TABLE: tuple[Scenario, ...] = tuple(each for table in _TABLES for each in table.SCENARIOS)
BY_NAME: dict[str, Scenario] = {scenario.name: scenario for scenario in TABLE}
