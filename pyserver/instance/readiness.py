"""Answers whether the model is ready, in a thread of its own: a model's `is_ready` may be called
while it executes, and when it hangs nothing but the answer is late.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)


class Readiness:
    """Answers core's questions one after the other."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._hooks: list[Callable[[], bool]] = []
        self._questions: queue.SimpleQueue[int] = queue.SimpleQueue()

    def open(self, hooks: list[Callable[[], bool]]) -> None:
        """From now on there are answers; each hook may raise, which means no."""
        self._hooks = hooks
        if hooks:
            threading.Thread(target=self._run, name="is_ready", daemon=True).start()

    def ask(self, number: int) -> None:
        self._questions.put(number)

    def _run(self) -> None:
        while True:
            number = self._questions.get()
            try:
                ready = all(hook() for hook in self._hooks)
            except Exception:
                log.exception("is_ready failed: the model counts as not ready")
                ready = False
            self._send({"op": "ready", "id": number, "ready": ready})
