"""Being introduced: before its first call of a model, a process asks core for it, and waits."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from typing import Any

from pyserver._core import Callees

Message = dict[str, Any]


class Introductions:
    """`callees` is for the executors; `receive` belongs to the thread that reads from core."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self.callees = Callees(self._ask)
        self._send = send
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}

    def _ask(self, name: str) -> bool:
        """From any thread. Whether there is such a model, and we have been introduced."""
        number = next(self._numbers)
        waiting = self._waiting[number] = _Waiting()
        self._send({"op": "meet", "model": name, "number": number})
        waiting.over.wait()
        return waiting.met

    def receive(self, message: Message) -> bool:
        """Whether the message was for us."""
        op = message["op"]
        if op == "model":
            self.callees.apply(json.dumps(message))
        elif op == "met":
            waiting = self._waiting.pop(message["number"], None)
            if waiting is not None:
                waiting.met = bool(message["met"])
                waiting.over.set()
        elif op == "settle":
            self._send({"op": "settled"})
        else:
            return False
        return True


class _Waiting:
    def __init__(self) -> None:
        self.over = threading.Event()
        self.met = False
