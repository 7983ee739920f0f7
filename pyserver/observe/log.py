"""The log: Triton's two line formats on the standard logging module.

    default:  I0726 12:34:56.123456 1234 core repository.py:99] "message"
    ISO8601:  2026-07-26T12:34:56Z I 1234 core repository.py:99] "message"

As in Triton, except that the process's role follows its id, since here several processes write.
Letters are I (information and verbose), W and E. Information goes to stdout, warnings and errors
to stderr, or everything to --log-file. A message is quoted and escaped as JSON, so that one event
is one line whatever a client sent; a record with `extra={"block": True}` (a table) is written as
it is.

Verbose messages of level n are `log.log(verbose(n), ...)`; level 1 is logging.DEBUG.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

from pyserver.settings import Settings

_LETTERS = {"WARNING": "W", "ERROR": "E", "CRITICAL": "E"}


def verbose(level: int) -> int:
    """The logging level of verbose messages: 1 is DEBUG, and more detail lies below it."""
    return max(1, logging.DEBUG + 1 - level)


def set_verbosity(level: int) -> None:
    """Which of our own messages are made at all: --log-verbose."""
    logging.getLogger("pyserver").setLevel(verbose(level) if level else logging.INFO)


class LineFormat(logging.Formatter):
    """One line per record; tables keep their lines."""

    def __init__(self, *, role: str, iso: bool, escape: bool) -> None:
        super().__init__()
        self._role = role
        self._iso = iso
        self._escape = escape

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        block = getattr(record, "block", False)
        if self._escape and not block:
            message = json.dumps(message, ensure_ascii=False)
        start = self._start(record, _LETTERS.get(record.levelname, "I"))
        return f"{start}]{os.linesep if block else ' '}{message}"

    def _start(self, record: logging.LogRecord, letter: str) -> str:
        moment = time.gmtime(record.created) if self._iso else time.localtime(record.created)
        role = getattr(record, "role", self._role)  # another process's record names its own
        where = f"{record.process} {role} {record.filename}:{record.lineno}"
        if self._iso:
            return f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', moment)} {letter} {where}"
        micros = int(record.created % 1 * 1e6)
        return f"{letter}{time.strftime('%m%d %H:%M:%S', moment)}.{micros:06d} {where}"


class Wanted(logging.Filter):
    """What --log-info, --log-warning, --log-error and --log-verbose let through."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def filter(self, record: logging.LogRecord) -> bool:
        settings = self._settings
        if record.levelno >= logging.ERROR:
            return settings.log_error
        if record.levelno >= logging.WARNING:
            return settings.log_warning
        if record.levelno >= logging.INFO:
            return settings.log_info
        return record.levelno >= verbose(settings.log_verbose)


class _Below(logging.Filter):
    def __init__(self, level: int) -> None:
        super().__init__()
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < self._level


def open_log(settings: Settings, *, role: str) -> None:
    """Sets up this process's log; call it once, early. OSError when --log-file cannot be opened."""
    formatter = LineFormat(
        role=role,
        iso=settings.log_format == "ISO8601",
        escape=os.environ.get("TRITON_SERVER_ESCAPE_LOG_MESSAGES", "1") != "0",
    )
    handlers: list[logging.Handler]
    if settings.log_file:
        # Every process appends; a line is one write, so lines do not mix.
        handlers = [logging.FileHandler(settings.log_file, encoding="utf-8")]
    else:
        out, err = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
        out.addFilter(_Below(logging.WARNING))
        err.setLevel(logging.WARNING)
        handlers = [out, err]
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.addFilter(Wanted(settings))
    # Only our own messages may be verbose: libraries' debug output is not what --log-verbose asks.
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    set_verbosity(settings.log_verbose)
    logging.captureWarnings(True)
