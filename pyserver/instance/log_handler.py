"""The log of an instance process goes to core, which writes it with the server's format and
switches: this process's own stderr is a pipe for what the model prints.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from pyserver.control.channel import ControlClosed


class ControlLogHandler(logging.Handler):
    """Sends each record as {"op": "log"}."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._send = send
        self._pid = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.exc_info:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
        except Exception:
            self.handleError(record)
            return
        if os.getpid() != self._pid:
            # A fork of the model's: the socket is not its own, and its lock may be held for ever.
            os.write(2, f"{text}\n".encode("utf-8", "replace"))
            return
        message = {
            "op": "log",
            "level": record.levelno,
            "file": record.filename,
            "line": record.lineno,
            "created": record.created,
            "text": text,
        }
        try:
            self._send(message)
        except (ControlClosed, OSError):
            pass  # core is gone, and so are we in a moment
