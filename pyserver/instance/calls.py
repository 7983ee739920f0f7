"""What this process asks of core by itself, and core's answers."""

from __future__ import annotations

import itertools
import os
import queue
from collections.abc import Callable, Sequence
from typing import Any

from pyserver.errors import make_error

Message = dict[str, Any]


class CoreCalls:
    """The way to core for a backend; see `pyserver.backends.interface.Server`."""

    def __init__(self, send: Callable[[Message, Sequence[int]], None]) -> None:
        self._send = send
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[Message]] = {}

    def send(self, message: Message) -> None:
        self._send(message, ())

    def ask(self, message: Message, fds: Sequence[int] = ()) -> Message:
        number = next(self._numbers)
        answers: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._waiting[number] = answers
        self._send({"op": "call", "id": number, **message}, fds)
        # There is always an answer: without core this process is at its end.
        answer = answers.get()
        if "error" in answer:
            _close(answer["fds"])
            raise make_error(int(answer.get("code", 1)), str(answer["error"]))
        return answer

    def answered(self, message: Message, fds: list[int]) -> None:
        """For the thread that reads the control socket."""
        answers = self._waiting.pop(int(message.get("id", 0)), None)
        if answers is not None:
            answers.put(message | {"fds": fds})
        else:
            _close(fds)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
