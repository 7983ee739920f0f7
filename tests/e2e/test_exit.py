"""SIGTERM while clients hold streams open: sequences go on to their end, nothing new begins."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc as triton

from bench.targets.pyserver import Pyserver
from tests.waiting import wait_until

MODELS = Path(__file__).parent / "sequence_models"
STOPPING = "Server is stopping, scheduler for model has stopped accepting new inference requests"
ANSWER_WITHIN_S = 20.0


class Conversation:
    """A stream over which one request after the other is answered."""

    def __init__(self, server: Pyserver) -> None:
        assert server.ports is not None
        self._client = triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")
        self._answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self._client.start_stream(lambda result, error: self._answers.put((result, error)))

    def ask(self, sequence: int, value: int, **flags: Any) -> int | str:
        """The sum so far, or the error's text."""
        tensor = triton.InferInput("INPUT", [1, 1], "INT32")
        tensor.set_data_from_numpy(np.full((1, 1), value, np.int32))
        self._client.async_stream_infer("direct", [tensor], sequence_id=sequence, **flags)
        return self.hear()

    def hear(self) -> int | str:
        result, error = self._answers.get(timeout=ANSWER_WITHIN_S)
        return str(error.message()) if error is not None else int(result.as_numpy("OUTPUT").flat[0])

    def close(self) -> None:
        self._client.close()


@pytest.fixture()
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


@contextmanager
def exiting(log: Path) -> Iterator[tuple[Pyserver, Conversation]]:
    """A server, and a conversation with it that may go on after SIGTERM; it must exit with 0."""
    server = Pyserver(log)
    server.start(MODELS, extra=["--exit-timeout-secs=60"])
    try:
        server.wait_ready()
        conversation = Conversation(server)
        try:
            yield server, conversation
            assert conversation.hear() == "Server exiting"
            wait_until(lambda: not server.running(), timeout_s=20, what="the server's end")
        finally:
            conversation.close()
    finally:
        code = server.stop()
    assert code == 0, server.log_tail()


def test_a_sequence_that_has_begun_is_finished_and_none_begins(log: Path) -> None:
    with exiting(log) as (server, conversation):
        assert conversation.ask(1, 10, sequence_start=True) == 10
        os.kill(server.pid, signal.SIGTERM)

        def refused() -> bool:
            answer = conversation.ask(2, 1, sequence_start=True, sequence_end=True)
            assert answer in (1, STOPPING)
            return answer == STOPPING

        wait_until(refused, timeout_s=20, what="the refusal of a new sequence")
        assert conversation.ask(1, 5) == 15
        assert server.running()
        assert conversation.ask(1, 6, sequence_end=True) == 21


def test_an_idle_stream_does_not_keep_the_server(log: Path) -> None:
    with exiting(log) as (server, conversation):
        assert conversation.ask(1, 10, sequence_start=True, sequence_end=True) == 10
        os.kill(server.pid, signal.SIGTERM)


def test_a_sequence_that_nobody_goes_on_with_is_waited_for_as_long_as_it_may_be_idle(
    log: Path,
) -> None:
    with exiting(log) as (server, conversation):
        assert conversation.ask(1, 10, sequence_start=True) == 10
        os.kill(server.pid, signal.SIGTERM)
