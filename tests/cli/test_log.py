"""The lines of the log: Triton's two formats, levels, escaping, tables."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyserver.observe.log import LineFormat, Wanted, open_log, verbose
from pyserver.settings import Settings


def record(level: int, message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("pyserver.x", level, "/a/repository.py", 99, message, None, None)
    made.created = 1785069296.25
    made.process = 1234
    for name, value in extra.items():
        setattr(made, name, value)
    return made


def test_the_default_format_is_tritons() -> None:
    line = LineFormat(role="core", iso=False, escape=True).format(record(logging.INFO, "hello"))
    assert re.fullmatch(
        r'I\d{4} \d\d:\d\d:\d\d\.250000 1234 core repository\.py:99\] "hello"', line
    )


def test_the_iso_format_is_tritons() -> None:
    line = LineFormat(role="core", iso=True, escape=True).format(record(logging.WARNING, "hello"))
    assert line == '2026-07-26T12:34:56Z W 1234 core repository.py:99] "hello"'


def test_a_message_stays_on_one_line_whatever_it_holds() -> None:
    line = LineFormat(role="core", iso=True, escape=True).format(
        record(logging.ERROR, 'a"b\nE1 fake')
    )
    assert line.endswith('] "a\\"b\\nE1 fake"')


def test_escaping_can_be_switched_off_and_tables_are_never_escaped() -> None:
    plain = LineFormat(role="core", iso=True, escape=False).format(record(logging.INFO, 'a "b"'))
    assert plain.endswith('] a "b"')
    table = LineFormat(role="core", iso=True, escape=True).format(
        record(logging.INFO, "+--+\n|  |", block=True)
    )
    assert table.endswith("]\n+--+\n|  |")


LEVELS = [
    ({}, logging.INFO, True),
    ({"log_info": False}, logging.INFO, False),
    ({"log_info": False}, logging.WARNING, True),
    ({"log_warning": False}, logging.WARNING, False),
    ({"log_error": False}, logging.ERROR, False),
    ({}, verbose(1), False),
    ({"log_verbose": 1}, verbose(1), True),
    ({"log_verbose": 1}, verbose(2), False),
    ({"log_verbose": 2}, verbose(2), True),
    ({"log_verbose": 1, "log_info": False}, verbose(1), True),
]


@pytest.mark.parametrize(("members", "level", "through"), LEVELS)
def test_levels_follow_the_settings(members: dict[str, int], level: int, through: bool) -> None:
    assert Wanted(Settings(**members)).filter(record(level, "m")) is through  # type: ignore[arg-type]


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("pyserver")
    before = root.handlers[:], root.level, ours.level
    yield
    for handler in root.handlers:
        if handler not in before[0]:
            handler.close()
    root.handlers[:], root.level, ours.level = before[0], before[1], before[2]
    logging.captureWarnings(False)


@pytest.mark.usefixtures("restored_logging")
def test_streams_divide_at_warning(capsys: pytest.CaptureFixture[str]) -> None:
    open_log(Settings(log_verbose=1), role="core")
    log = logging.getLogger("pyserver.test")
    log.info("one")
    log.log(verbose(1), "two")
    log.log(verbose(2), "hidden")
    log.warning("three")
    captured = capsys.readouterr()
    assert [line.split('"')[1] for line in captured.out.splitlines()] == ["one", "two"]
    assert [line.split('"')[1] for line in captured.err.splitlines()] == ["three"]
    assert f" {os.getpid()} core test_log.py:" in captured.err


@pytest.mark.usefixtures("restored_logging")
def test_a_log_file_takes_everything_and_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    open_log(Settings(log_file=str(path)), role="core")
    logging.getLogger("pyserver.test").error("broken")
    lines = path.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[1].startswith("E") and lines[1].endswith('] "broken"')
