"""A well-behaved client beside the attackers: stock tritonclient on a connection of its own, which
must not notice that there are others.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Self

import numpy as np
import tritonclient.grpc as grpc_client
from tritonclient.utils import InferenceServerException

from tests.waiting import wait_until

ANSWER_WITHIN_S = 2.0
_PAUSE_S = 0.004  # leaves the cores to the attack
_CONTROL_EVERY = 8  # as often one asks core, through the proxy


class Bystander:
    """A thread with one call under way at any time; a context manager."""

    def __init__(self, port: int, model: str) -> None:
        self._address = f"127.0.0.1:{port}"
        self._model = model
        self._thread = threading.Thread(target=self._run, name="bystander", daemon=True)
        self._over = threading.Event()
        self.answered = 0
        self.longest_s = 0.0
        self.complaints: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_answers(3)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "the bystander still waits for an answer"

    def wait_answers(self, count: int) -> None:
        """Returns when so many calls that began after now, and any before, have ended."""
        wanted = self.answered + count + 1
        wait_until(
            lambda: self.answered >= wanted or self.complaints,
            timeout_s=30,
            what=f"{count} answers for the bystander",
            every_s=0.002,
        )

    def _run(self) -> None:
        numbers = random.Random(7)
        with grpc_client.InferenceServerClient(self._address) as client:
            while not self._over.wait(_PAUSE_S):
                begin_s = time.monotonic()
                try:
                    wrong = self._one(client, numbers, self.answered % _CONTROL_EVERY == 0)
                except InferenceServerException as error:
                    wrong = f"failed: {error}"
                took_s = time.monotonic() - begin_s
                self.longest_s = max(self.longest_s, took_s)
                if wrong:
                    self.complaints.append(wrong)
                if took_s > ANSWER_WITHIN_S:
                    self.complaints.append(f"answered after {took_s:.2f} s")
                self.answered += 1

    def _one(
        self, client: grpc_client.InferenceServerClient, numbers: random.Random, control: bool
    ) -> str:
        if control:
            return "" if client.is_server_live(client_timeout=10) else "the server is not live"
        values = np.array([[numbers.random() for _ in range(16)]], dtype=np.float32)
        tensor = grpc_client.InferInput("INPUT0", [1, 16], "FP32")
        tensor.set_data_from_numpy(values)
        result = client.infer(self._model, [tensor], client_timeout=10)
        return "" if np.array_equal(result.as_numpy("OUTPUT0"), values) else "a wrong answer"
