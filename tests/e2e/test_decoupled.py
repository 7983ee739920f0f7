"""Decoupled Python models over gRPC streams: every response comes, once and in order, whatever
thread has sent it and whatever went wrong; and when a stream is over, nothing is left of it.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc as triton

from bench.targets.pyserver import Pyserver
from tests.backends.python_models import model
from tests.crash.processes import holdings
from tests.e2e.test_ensembles import engine_counters
from tests.serving import serving
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

FINAL = "pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL"
SENDS = f"""
def initialize(self, args):
    self.seen = "nothing"
def execute(self, requests):
    for request in requests:
        what, count = json.loads(get(request).as_numpy()[0])
        getattr(self, what)(request, request.get_response_sender(), count)
def tell(self, sender, text, flags={FINAL}):
    sender.send(answer(np.array([str(text)], dtype=object)), flags)
def plain(self, request, sender, count):
    for number in range(count):
        self.tell(sender, number, 0)
    sender.send(flags={FINAL})
def last(self, request, sender, count):
    for number in range(count):
        self.tell(sender, number, {FINAL} if number == count - 1 else 0)
def threads(self, request, sender, count):
    start = threading.Barrier(8)
    def send(thread):
        start.wait()
        for number in range(count // 8):
            self.tell(sender, f"{{thread}} {{number}}", 0)
    def all_of_them():
        own = [threading.Thread(target=send, args=(thread,)) for thread in range(8)]
        for thread in own:
            thread.start()
        for thread in own:
            thread.join()
        sender.send(flags={FINAL})
    threading.Thread(target=all_of_them).start()
def errors(self, request, sender, count):
    for number in range(count):
        if number % 10 == 3:
            error = pb_utils.TritonError(f"no {{number}}", pb_utils.TritonError.UNAVAILABLE)
            sender.send(pb_utils.InferenceResponse(error=error))
        else:
            self.tell(sender, number, 0)
    error = pb_utils.TritonError("the end", pb_utils.TritonError.NOT_FOUND)
    sender.send(pb_utils.InferenceResponse(error=error), {FINAL})
def raises(self, request, sender, count):
    for number in range(count):
        self.tell(sender, number, 0)
    raise ValueError("in the middle")
def after_cancel(self, request, sender, count):
    self.until_cancelled(request, sender, count)
def after_cancel_in_a_thread(self, request, sender, count):
    threading.Thread(target=self.until_cancelled, args=(request, sender, count)).start()
def until_cancelled(self, request, sender, count):
    sent = 0
    while not request.is_cancelled():
        self.tell(sender, "x" * 100, 0)
        sent += 1
    assert sender.is_cancelled()
    for number in range(count):
        self.tell(sender, "y" * 100, 0)
    error = pb_utils.TritonError("was cancelled", pb_utils.TritonError.CANCELLED)
    sender.send(pb_utils.InferenceResponse(error=error), {FINAL})
    self.seen = "cancelled"
    try:
        sender.send(flags={FINAL})
    except pb_utils.TritonModelException as raised:
        self.seen = f"cancelled, {{raised}}"
def told(self, request, sender, count):
    self.tell(sender, self.seen)
    self.seen = "nothing"
def books(self, request, sender, count):
    import os, sys
    frame = sys._getframe()
    while "executor" not in frame.f_locals:
        frame = frame.f_back
    own = frame.f_locals["executor"].counters()
    own = {{name: own[name] for name in ("used_bytes", "live_blocks")}}
    self.tell(sender, json.dumps([os.getpid(), own]))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    folder: Path = tmp_path_factory.mktemp("decoupled")
    decoupled = "model_transaction_policy { decoupled: true }\n"
    model(folder / "models" / "sends", SENDS, kind="STRING", config=decoupled)
    with serving(folder / "server.log", folder / "models") as running:
        yield running


class Stream:
    """One stream of one client; `take` gives what came next: (text or None, error, final)."""

    def __init__(self, server: Pyserver) -> None:
        assert server.ports is not None
        self._client = triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")
        self._came: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self._client.start_stream(lambda result, error: self._came.put((result, error)))

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, what: str, count: int = 0) -> None:
        given = triton.InferInput("IN", [1], "BYTES")
        given.set_data_from_numpy(np.array([json.dumps([what, count]).encode()], dtype=object))
        self._client.async_stream_infer("sends", [given], enable_empty_final_response=True)

    def take(self) -> tuple[str | None, str, bool]:
        result, error = self._came.get(timeout=60)
        if error is not None:
            return None, error.message(), False
        array = result.as_numpy("OUT")
        final = result.get_response().parameters["triton_final_response"].bool_param
        return (None if array is None else array[0].decode()), "", final

    def all_of(self, what: str, count: int = 0) -> list[str]:
        """Texts up to the final one."""
        self.ask(what, count)
        texts = []
        while True:
            text, error, final = self.take()
            assert error == ""
            texts += [] if text is None else [text]
            if final:
                return texts

    def cancel(self) -> None:
        self._client.stop_stream(cancel_requests=True)

    def nothing_more(self) -> bool:
        return self._came.empty()


def books(server: Pyserver) -> tuple[int, dict[str, int], int]:
    """The instance's process, what it holds of its region, and its descriptors."""
    with Stream(server) as stream:
        pid, own = json.loads(stream.all_of("books")[0])
    return pid, own, holdings(pid).fds


@pytest.fixture(autouse=True)
def nothing_is_left(server: Pyserver) -> Iterator[None]:
    assert server.ports is not None
    address = f"127.0.0.1:{server.ports.http}"
    before = books(server)
    yield
    wait_until(lambda: engine_counters(address)["live_requests"] == 0, what="the end of requests")
    wait_until(lambda: engine_counters(address)["live_leases"] == 0, what="returned memory")
    wait_until(lambda: books(server) == before, what="memory and descriptors as before")
    assert engine_counters(address)["violations"] == 0


@pytest.mark.parametrize("what", ["plain", "last"])
@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_every_response_comes_in_order(server: Pyserver, what: str, count: int) -> None:
    if what == "last" and count == 0:
        what = "plain"
    with Stream(server) as stream:
        for _ in range(2):
            assert stream.all_of(what, count) == [str(number) for number in range(count)]
        assert stream.nothing_more()


def test_threads_send_at_once_and_each_keeps_its_order(server: Pyserver) -> None:
    with Stream(server) as stream:
        came = [text.split() for text in stream.all_of("threads", 10_000)]
    assert len(came) == 10_000
    for thread in range(8):
        numbers = [int(number) for own, number in came if int(own) == thread]
        assert numbers == list(range(1250)), thread


def test_errors_come_where_they_were_sent(server: Pyserver) -> None:
    with Stream(server) as stream:
        stream.ask("errors", 1000)
        for number in range(1000):
            text, error, final = stream.take()
            assert (text or error, final) == (
                f"no {number}" if number % 10 == 3 else f"{number}",
                0,
            )
        assert stream.take()[1] == "the end"
        assert stream.all_of("plain", 3) == ["0", "1", "2"]


def test_what_execute_raises_comes_after_what_it_has_sent(server: Pyserver) -> None:
    with Stream(server) as stream:
        stream.ask("raises", 5)
        assert [stream.take()[0] for _ in range(5)] == [str(number) for number in range(5)]
        assert "ValueError: in the middle" in stream.take()[1]
        assert stream.all_of("plain", 1) == ["0"]


@pytest.mark.parametrize("what", ["after_cancel", "after_cancel_in_a_thread"])
def test_a_model_hears_of_a_cancellation_and_may_go_on_sending(server: Pyserver, what: str) -> None:
    with Stream(server) as stream:
        stream.ask(what, 1000)
        assert stream.take()[0] is not None
        stream.cancel()

    def told() -> str:
        with Stream(server) as stream:
            return stream.all_of("told")[0]

    said = wait_until(lambda: next((one for one in [told()] if one != "nothing"), ""), what="it")
    assert said == "cancelled, Unable to send response. Response sender has been closed."
