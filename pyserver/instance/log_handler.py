"""The log of an instance process goes to core, which writes it with the server's format and
switches: this process's own stderr is a pipe for what the model prints.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from pyserver.control.channel import ControlClosed
from pyserver.observe.output_budget import PAUSE_S, OutputBudget

MAX_TEXT: Final = 8 << 10  # characters of one message of a model's


class ControlLogHandler(logging.Handler):
    """Sends each record as {"op": "log"}. What the model says, within bounds and cut where it is
    too long: over the same socket core speaks to this process. Our own messages always.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._send = send
        self._pid = os.getpid()
        self._budget = OutputBudget()
        self._reminder: threading.Timer | None = None  # there is something to be told

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
        if record.name.startswith("pyserver.") and record.name != "pyserver.model":
            self._tell(record, text)
            return
        if len(text) > MAX_TEXT:
            text = f"{text[:MAX_TEXT]}... ({len(text) - MAX_TEXT} characters more)"
        now_s = time.monotonic()
        byte_size = len(text.encode("utf-8", "replace"))
        dropped = self._budget.resume(now_s)
        if dropped:
            self._tell(record, dropped)
        if self._budget.may_pass(now_s):
            self._budget.take(byte_size)
            self._tell(record, text)
        else:
            self._budget.drop(1, byte_size)
            self._remind()

    def _remind(self) -> None:
        """The model may say nothing more by itself."""
        if self._reminder is None:
            self._reminder = threading.Timer(PAUSE_S, self._reminded)
            self._reminder.daemon = True
            self._reminder.start()

    def _reminded(self) -> None:
        self.acquire()
        try:
            self._reminder = None
            dropped = self._budget.resume(time.monotonic())
            if dropped:
                self._tell(_ours(), dropped)
            elif self._budget.dropping:
                self._remind()
        finally:
            self.release()

    def close(self) -> None:
        """The end of the process: what was dropped last."""
        super().close()
        if self._reminder is not None:
            self._reminder.cancel()
        dropped = self._budget.finish()
        if dropped and os.getpid() == self._pid:
            self._tell(_ours(), dropped)

    def _tell(self, record: logging.LogRecord, text: str) -> None:
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


def _ours() -> logging.LogRecord:
    return logging.makeLogRecord({"levelno": logging.INFO})
