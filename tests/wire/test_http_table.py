"""pyserver answers every row of the table as the real Triton does, and lives on after each bad
one.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.wire.compare import differences, from_record
from tests.wire.exchange import Answer, exchange
from tests.wire.newer import NEWER
from tests.wire.requests import WireRequest
from tests.wire.servers import TARGET, WireServers
from tests.wire.table import BY_NAME, SERVERS, TABLE

RECORDED: dict[str, list[Answer]] = {
    name: [from_record(record) for record in records]
    for name, records in json.loads(
        Path(__file__).with_name("recorded.json").read_text(encoding="utf-8")
    ).items()
}
_COUNTED = [row for row in TABLE if row.model == "counted"]
_SINGLE = [row for row in TABLE if row.model != "counted"]


def _differences(row: WireRequest, answers: tuple[Answer, ...]) -> list[str]:
    if row.name in NEWER and TARGET != "triton":
        return NEWER[row.name].differences(row, answers, RECORDED)
    wanted = RECORDED[row.name]
    if len(wanted) != len(answers):
        return [f"wanted {len(wanted)} answers, got {[answer.status for answer in answers]}"]
    return [
        difference
        for one, other in zip(wanted, answers, strict=True)
        for difference in differences(one, other, row.masked)
    ]


def _port(wire_servers: WireServers, server: str) -> int:
    return wire_servers.ports(server, SERVERS[server]).http


def _lives(wire_servers: WireServers, server: str) -> None:
    good = BY_NAME[SERVERS[server].good_row]
    assert _differences(good, exchange(_port(wire_servers, server), good)) == []


def test_every_row_has_an_answer_to_compare_with() -> None:
    assert [row.name for row in TABLE if row.name not in RECORDED and row.name not in NEWER] == []
    assert [name for name in (*RECORDED, *NEWER) if name not in BY_NAME] == []


@pytest.mark.parametrize("row", _SINGLE, ids=lambda row: row.name)
def test_answers_as_triton_does(wire_servers: WireServers, row: WireRequest) -> None:
    if TARGET == "triton" and row.name in NEWER:
        pytest.skip("the real Triton at hand answers otherwise, or does not survive it")
    answers = exchange(_port(wire_servers, row.server), row)
    found = _differences(row, answers)
    assert not found, "\n".join(found)
    if any(answer.status != 200 for answer in answers):
        _lives(wire_servers, row.server)


def test_statistics_count_what_was_served(wire_servers: WireServers) -> None:
    """These rows make sense only together and in this order, on a server that saw none of them."""
    found = []
    for row in _COUNTED:
        for difference in _differences(row, exchange(_port(wire_servers, row.server), row)):
            found.append(f"{row.name}: {difference}")
    assert not found, "\n".join(found)
