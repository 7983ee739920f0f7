"""Clients that keep a server busy over raw keep-alive connections and note what became of each
request.
"""

from __future__ import annotations

import http.client
import json
import random
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Self

ELEMENTS = 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: when it began and ended (monotonic seconds) and what came back."""

    model: str
    begin_s: float
    end_s: float
    status: int  # 0: the connection broke before an answer
    error: str  # of the body or of the connection; "" for a right answer
    wrong: bool = False  # answered 200 with other numbers than were sent


@dataclass(slots=True)
class Load:
    """`clients` threads, each with its own connection, each with one request in flight.

    Every request carries its own random numbers, so an answer that belongs to another request is
    noticed. Use as a context manager; `outcomes` may be read afterwards.
    """

    port: int
    models: tuple[str, ...]
    clients: int = 16
    outcomes: list[Outcome] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        for index in range(self.clients):
            model = self.models[index % len(self.models)]
            thread = threading.Thread(target=self._run, args=(model, index), daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=30)
            assert not thread.is_alive(), "a client still waits for its answer: a request hangs"

    def good_since(self, moment_s: float, model: str) -> bool:
        """Whether a request that began after `moment_s` has been answered rightly."""
        return any(
            outcome.begin_s >= moment_s
            and outcome.status == 200
            and not outcome.wrong
            and outcome.model == model
            for outcome in self.outcomes[-400:]
        )

    def _run(self, model: str, seed: int) -> None:
        numbers = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self._over.is_set():
            data = struct.pack(f"<{ELEMENTS}f", *(numbers.random() for _ in range(ELEMENTS)))
            outcome = infer(connection, model, data)
            self.outcomes.append(outcome)  # list.append is atomic
            if outcome.status == 0:
                connection.close()
            if outcome.status != 200:
                time.sleep(0.01)  # as clients do that retry; a refusal comes at once
        connection.close()


def infer(connection: http.client.HTTPConnection, model: str, data: bytes) -> Outcome:
    """Send FP32 [1,16] `data` to an identity model in binary; the answer must be the same."""
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "INPUT0",
                    "datatype": "FP32",
                    "shape": [1, ELEMENTS],
                    "parameters": {"binary_data_size": len(data)},
                }
            ],
            "outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": True}}],
        }
    ).encode()
    begin = time.monotonic()
    try:
        connection.request(
            "POST",
            f"/v2/models/{model}/infer",
            head + data,
            {"Inference-Header-Content-Length": str(len(head))},
        )
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        return Outcome(model, begin, time.monotonic(), 0, f"{type(error).__name__}: {error}")
    end = time.monotonic()
    if response.status != 200:
        return Outcome(model, begin, end, response.status, _error_text(body))
    length = int(response.headers["Inference-Header-Content-Length"])
    return Outcome(model, begin, end, 200, "", wrong=body[length:] != data)


def _error_text(body: bytes) -> str:
    try:
        text = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return f"not a JSON error: {body[:80]!r}"
    return str(text)
