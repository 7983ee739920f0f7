"""What an instance says to core: a model's messages within bounds, our own always."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from pyserver.instance.log_handler import MAX_TEXT, ControlLogHandler
from pyserver.observe.output_budget import BURST_LINES
from tests.waiting import wait_until


@pytest.fixture
def sent() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def handler(sent: list[dict[str, Any]]) -> Iterator[ControlLogHandler]:
    made = ControlLogHandler(sent.append)
    yield made
    made.close()


def record(name: str, text: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.INFO, "model.py", 7, "%s", (text,), None)


def test_a_flood_is_dropped_and_counted(
    handler: ControlLogHandler, sent: list[dict[str, Any]]
) -> None:
    for _ in range(BURST_LINES + 10_000):
        handler.handle(record("pyserver.model", "x"))
    # A few more may pass while this goes on.
    assert BURST_LINES <= len(sent) < BURST_LINES + 5_000
    handler.close()
    assert "of output were dropped" in sent[-1]["text"]


def test_what_was_dropped_is_told_though_nothing_more_is_said(
    handler: ControlLogHandler, sent: list[dict[str, Any]]
) -> None:
    for _ in range(2 * BURST_LINES):
        handler.handle(record("pyserver.model", "x"))
    wait_until(lambda: "of output were dropped" in sent[-1]["text"], what="the count")


def test_our_own_messages_pass_all_the_same(
    handler: ControlLogHandler, sent: list[dict[str, Any]]
) -> None:
    for _ in range(2 * BURST_LINES):
        handler.handle(record("somebody.elses", "x"))
    handler.handle(record("pyserver.instance.role", "it cannot go on"))
    assert sent[-1]["text"] == "it cannot go on"
    assert (sent[-1]["file"], sent[-1]["line"]) == ("model.py", 7)


def test_a_long_message_is_cut(handler: ControlLogHandler, sent: list[dict[str, Any]]) -> None:
    handler.handle(record("pyserver.model", "y" * (MAX_TEXT + 5)))
    assert sent[0]["text"] == "y" * MAX_TEXT + "... (5 characters more)"
    handler.handle(record("pyserver.model", "short"))
    assert sent[1]["text"] == "short"
