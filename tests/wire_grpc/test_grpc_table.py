"""pyserver answers every row of the table as the real Triton does, and lives on after each bad
one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.wire.servers import TARGET
from tests.wire.table import TABLE as HTTP_TABLE
from tests.wire_grpc.compare import differences, to_record
from tests.wire_grpc.conftest import Channels
from tests.wire_grpc.exchange import exchange
from tests.wire_grpc.newer import NEWER
from tests.wire_grpc.requests import GrpcRequest
from tests.wire_grpc.table import BY_NAME, FROM_HTTP, OWN, SERVERS, TABLE

RECORDED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("recorded.json").read_text(encoding="utf-8")
)
_TOGETHER = sorted({row.together for row in TABLE if row.together})


def _ask(channels: Channels, row: GrpcRequest) -> tuple[dict[str, Any], list[str]]:
    """The answer and how it differs from the right one."""
    got = to_record(row, exchange(channels.to(row.server), row))
    if row.name in NEWER and TARGET != "triton":
        return got, NEWER[row.name].differences(row, got, RECORDED)
    return got, differences(row, RECORDED[row.name], got)


def _is_refusal(answer: dict[str, Any]) -> bool:
    errors = [one for one in answer.get("messages", []) if "error_message" in one]
    return answer["code"] != "OK" or bool(errors)


def test_every_row_has_an_answer_to_compare_with() -> None:
    assert [row.name for row in TABLE if row.name not in RECORDED and row.name not in NEWER] == []
    assert [name for name in (*RECORDED, *NEWER) if name not in BY_NAME] == []


def test_no_two_rows_have_the_same_name() -> None:
    names = [row.name for row in (*FROM_HTTP.rows, *OWN)]
    assert sorted(names) == sorted(set(names))


def test_every_row_of_the_http_table_is_sent_or_has_a_reason() -> None:
    accounted = (*(row.name for row in FROM_HTTP.rows), *FROM_HTTP.same, *FROM_HTTP.left_out)
    assert sorted(accounted) == sorted(row.name for row in HTTP_TABLE)


@pytest.mark.parametrize(
    "row", [row for row in TABLE if not row.together], ids=lambda row: row.name
)
def test_answers_as_triton_does(channels: Channels, row: GrpcRequest) -> None:
    if TARGET == "triton" and row.name in NEWER:
        pytest.skip("the real Triton at hand answers otherwise, or does not survive it")
    answer, found = _ask(channels, row)
    assert not found, "\n".join(found)
    if _is_refusal(answer):
        good = BY_NAME[SERVERS[row.server].good_row]
        assert _ask(channels, good)[1] == []


@pytest.mark.parametrize("together", _TOGETHER)
def test_rows_that_build_on_one_another(channels: Channels, together: str) -> None:
    """They make sense only in this order, on a server that saw none of them."""
    found = []
    for row in TABLE:
        if row.together == together:
            found += [f"{row.name}: {one}" for one in _ask(channels, row)[1]]
    assert not found, "\n".join(found)
