"""The open-loop generator against servers that stall, close, refuse, talk junk or say nothing.

Times are asserted from below only: a slow machine makes latencies longer, never shorter. The
generator is compiled when the first test wants it, which needs g++, as pyserver itself does.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from bench.loads import open_loop
from bench.loads.open_loop import OpenLoop, OpenLoopResult
from bench.targets.process import Ports, ServerProcess
from bench.workload import GrpcRequest, HttpRequest, Request, Wire, Workload

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
WORKLOAD = Workload("identity", Wire.BINARY)

Answer = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]
"""Writes what answers a request, whose body is given."""


class Tiny:
    """An HTTP/1.1 server in the test's own loop. It reads requests whole and counts them."""

    def __init__(self, answer: Answer, *, early: bytes = b"") -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._answer, self._early = answer, early
        self._serving: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def listen(self) -> None:
        """On the port that it had before, if it had one."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def stop_listening(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()

    def drop_connections(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def end(self) -> None:
        """The generator is gone, and with it the other end of every connection."""
        self.stop_listening()
        await asyncio.wait_for(asyncio.gather(*self._serving), timeout=10)

    def _accept(self) -> None:
        # Not with asyncio.start_server: what that has just accepted when it is closed, leaks.
        accepted, _ = self._listener.accept()
        self.connections += 1
        serving = asyncio.create_task(self._serve(accepted))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=accepted)
        self._writers.add(writer)
        try:
            while True:
                await self._serve_one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side ended it, or the test did
        finally:
            self._writers.discard(writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        writer.write(self._early)
        found = re.search(rb"Content-Length: (\d+)", head)
        assert found is not None
        await self._answer(writer, await reader.readexactly(int(found[1])))
        await writer.drain()


@asynccontextmanager
async def tiny(answer: Answer, *, early: bytes = b"") -> AsyncIterator[Tiny]:
    server = Tiny(answer, early=early)
    server.listen()
    try:
        yield server
    finally:
        await server.end()


def saying(answer: bytes, *, then_close: bool = False) -> Answer:
    async def write(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(answer)
        if then_close:
            await writer.drain()
            writer.close()

    return write


def posting(body: bytes = b"\0\1\2\3") -> HttpRequest:
    return HttpRequest("/v2/models/m/infer", {"X-Kind": "test"}, body, lambda _: True)


async def load(
    server: Tiny,
    *,
    rate: float = 200,
    seconds: float = 0.1,
    connections: int = 4,
    body: bytes = b"\0\1\2\3",
    warm_up_s: float = 0.0,
    grace_s: float = 10.0,
) -> OpenLoopResult:
    """Evenly, so that the number of requests is known; what always adds up is checked here."""
    result = await asyncio.to_thread(
        open_loop.run,
        posting(body),
        server.port,
        rate=rate,
        seconds=seconds,
        connections=connections,
        evenly=True,
        warm_up_s=warm_up_s,
        grace_s=grace_s,
    )
    assert result.scheduled == round(rate * seconds)
    assert result.answered + result.failed + result.unanswered == result.scheduled
    assert 0 <= result.waited <= result.scheduled
    times = (result.p50_us, result.p90_us, result.p99_us, result.p999_us, result.max_us)
    assert list(times) == sorted(times)
    assert result.duration_us >= seconds * 1e6 * 0.999
    return result


async def test_every_scheduled_request_is_sent_and_answered_once() -> None:
    async with tiny(saying(OK)) as server:
        result = await load(server, rate=500, seconds=0.4)
    assert (result.answered, result.bad, len(server.heads)) == (200, 0, 200)
    assert result.first_failure == ""
    assert 0 < result.per_second <= 500
    assert result.cpu_us > 0
    assert result.late_p50_us is not None and result.late_p99_us is not None
    assert 0 <= result.late_p50_us <= result.late_p99_us
    assert server.connections == 4


async def test_a_request_is_sent_byte_for_byte() -> None:
    bodies: list[bytes] = []

    async def note(writer: asyncio.StreamWriter, body: bytes) -> None:
        bodies.append(body)
        writer.write(OK)

    sent = bytes(range(256))
    async with tiny(note) as server:
        await load(server, body=sent)
        port = server.port
    assert set(bodies) == {sent}
    head = f"POST /v2/models/m/infer HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Kind: test\r\n"
    assert set(server.heads) == {f"{head}Content-Length: 256\r\n\r\n".encode()}


async def test_requests_of_the_warm_up_are_sent_but_not_counted() -> None:
    async with tiny(saying(OK)) as server:
        result = await load(server, rate=100, seconds=0.2, warm_up_s=0.1)
    assert (result.answered, len(server.heads)) == (20, 30)


async def test_one_stall_of_the_server_is_seen_by_all_requests_that_were_meant_to_begin_in_it() -> (
    None
):
    """When the 50th request stalls the server for 400 ms, 49 are done, and it was meant to begin
    at 98 ms. Of those meant for the first half of the stall or before it, which are 149 at the
    least, 100 or more are answered 200 ms late or later. A closed loop over four connections would
    see four.
    """
    seen = 0

    async def stall(writer: asyncio.StreamWriter, _: bytes) -> None:
        nonlocal seen
        seen += 1
        if seen == 50:
            time.sleep(0.4)  # the whole loop: nothing else is served
        writer.write(OK)

    async with tiny(stall) as server:
        result = await load(server, rate=500, seconds=1.0)
    assert (result.answered, result.bad) == (500, 0)
    assert result.max_us >= 400_000
    assert result.p90_us >= 200_000  # 50 of 500 are more
    assert result.mean_us >= 100 * 200_000 / 500
    assert result.waited >= 100


async def test_a_connection_that_the_server_announces_to_close_is_opened_again() -> None:
    answer = b"HTTP/1.1 200 OK\r\nconnection: Close\r\nContent-Length: 0\r\n\r\n"
    async with tiny(saying(answer, then_close=True)) as server:
        result = await load(server, rate=200, seconds=0.2, connections=2)
    assert (result.answered, result.bad) == (40, 0)
    assert server.connections >= 40


async def test_a_connection_that_ends_unannounced_may_cost_a_request_but_not_the_run() -> None:
    async with tiny(saying(OK, then_close=True)) as server:
        result = await load(server, rate=200, seconds=0.2, connections=2)
    assert result.unanswered == 0
    assert result.answered >= 1
    assert server.connections >= result.answered


async def test_a_refusal_is_an_answer_and_bad() -> None:
    answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
    async with tiny(saying(answer)) as server:
        result = await load(server)
    assert (result.answered, result.refused, result.failed, result.bad) == (20, 20, 0, 20)
    assert server.connections == 4  # they are kept


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"hello", "an answer that is no HTTP/1.1"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "an answer that is no HTTP/1.1"),
        (b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n", "an answer without a final status"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "an answer without a final status"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "an answer without Content-Length"),
        (b"HTTP/1.1 200 OK\r\nwhat\r\n\r\n", "a header without a colon"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\nz", "a Content-Length that is no number"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nz",
            "two Content-Lengths",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "an answer in chunks",
        ),
        (OK + b"more", "more bytes than the answer's Content-Length"),
        (b"HTTP/1.1 200 OK\r\nX: " + 70_000 * b"x", "a head without an end"),
    ],
)
async def test_what_is_no_whole_answer_is_a_failure_that_says_why(answer: bytes, why: str) -> None:
    async with tiny(saying(answer)) as server:
        result = await load(server, seconds=0.05)
    assert (result.answered, result.failed, result.bad) == (0, 10, 10)
    assert result.first_failure == why
    assert len(server.heads) == 10
    assert server.connections >= 10


@pytest.mark.parametrize("cut", [0, 5, len(OK) - 2, len(OK) - 1])
async def test_an_answer_that_ends_too_early_is_a_failure(cut: int) -> None:
    async with tiny(saying(OK[:cut], then_close=True)) as server:
        result = await load(server, seconds=0.05)
    assert (result.answered, result.failed) == (0, 10)
    assert result.first_failure == "the connection ended before the answer did"


async def test_an_answer_may_come_byte_by_byte() -> None:
    async def drip(writer: asyncio.StreamWriter, _: bytes) -> None:
        for byte in b"HTTP/1.1 201 \r\ncontent-LENGTH:\t 3 \r\nX: \r\n\r\nabc":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async with tiny(drip) as server:
        result = await load(server)
    assert (result.answered, result.bad) == (20, 0)


async def test_requests_that_are_never_answered_count_with_the_time_they_waited() -> None:
    async with tiny(saying(b"")) as server:
        result = await load(server, rate=200, seconds=0.2, connections=4, grace_s=0.3)
    assert (result.answered, result.failed, result.unanswered, result.bad) == (0, 0, 40, 40)
    assert len(server.heads) <= 4
    assert result.waited >= 36
    assert result.per_second == 0
    assert result.max_us >= 500_000
    assert result.p50_us >= 400_000


async def test_a_server_that_goes_away_is_connected_to_again() -> None:
    """It drops everything at its 20th request and listens again 200 ms later."""
    back: list[asyncio.Task[None]] = []

    async def come_back() -> None:
        await asyncio.sleep(0.2)
        server.listen()

    async def die_once(writer: asyncio.StreamWriter, _: bytes) -> None:
        if len(server.heads) == 20:
            server.stop_listening()
            server.drop_connections()
            back.append(asyncio.create_task(come_back()))
        else:
            writer.write(OK)

    async with tiny(die_once) as server:
        result = await load(server, rate=200, seconds=0.5)
        await asyncio.gather(*back)
    assert result.unanswered == 0
    assert 1 <= result.failed <= 4  # one for each connection at most
    assert result.max_us >= 190_000


async def test_big_bodies_go_both_ways() -> None:
    big = bytes(range(256)) * 4096
    right = 0

    async def echo(writer: asyncio.StreamWriter, body: bytes) -> None:
        nonlocal right
        right += body == big
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with tiny(echo) as server:
        result = await load(server, rate=100, seconds=0.2, body=big)
    assert (result.answered, result.bad, right) == (20, 0, 20)


async def test_an_answer_that_does_not_wait_for_the_request_is_counted() -> None:
    early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
    async with tiny(saying(b""), early=early) as server:
        result = await load(server, rate=100, seconds=0.1, body=bytes(4 << 20))
    assert (result.answered, result.refused, result.failed) == (10, 10, 0)


async def test_poisson_arrivals_follow_from_the_seed() -> None:
    async with tiny(saying(OK)) as server:

        def scheduled(seed: int) -> int:
            result = open_loop.run(posting(), server.port, rate=1000, seconds=0.1, seed=seed)
            assert result.bad == 0
            return result.scheduled

        counts = [await asyncio.to_thread(scheduled, seed) for seed in (1, 1, 2, 3)]
    assert counts[0] == counts[1]
    assert len(set(counts)) > 1
    assert all(50 < count < 150 for count in counts)  # five standard deviations of 100


def test_a_port_where_nobody_listens_is_an_error_that_names_it() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"127.0.0.1:{port}: nobody listens there"):
            open_loop.run(posting(), port, rate=10, seconds=0.1)


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"rate": 0.0}, "--rate=0.0 is not a number in its range"),
        ({"rate": float("nan")}, "--rate=nan is not"),
        ({"connections": 0}, "--connections=0 is not"),
        ({"rate": 1e7, "seconds": 1e5}, "more than 10"),
        ({"rate": 1e-3, "seconds": 1e-3, "seed": 1}, "no request falls into"),
    ],
)
def test_a_load_that_cannot_be_is_refused(how: Mapping[str, float], what: str) -> None:
    with pytest.raises(RuntimeError, match=what):
        open_loop.run(posting(), 9, **{"rate": 10, "seconds": 0.1, **how})  # type: ignore[arg-type]


class Fake(ServerProcess):
    """Only what a load asks of a target."""

    name = "fake"

    def __init__(self, request: Request | None, port: int | None) -> None:
        super().__init__(Path("/dev/null"))
        self._request = request
        self.ports = None if port is None else Ports(http=port, grpc=1, metrics=1)

    def request(self, workload: Workload) -> Request | None:
        return self._request

    def command(self, model_repository: Path, ports: Ports, extra: Sequence[str]) -> list[str]:
        return []

    def environment(self) -> Mapping[str, str]:
        return {}

    @classmethod
    def installed(cls) -> bool:
        return True

    @classmethod
    def version(cls) -> str:
        return "0"

    def lay_out(self, deployment: object, folder: Path) -> tuple[Path, Sequence[str]]:
        return folder, ()


async def test_as_a_load_it_warms_up_and_then_counts() -> None:
    answer = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
    async with tiny(saying(answer)) as server:
        shape = OpenLoop(rate=100, connections=2, evenly=True)
        target = Fake(posting(), server.port)
        measured = await asyncio.to_thread(shape.prepare, target, WORKLOAD, 0.2)
        warmed = len(server.heads)
        seen = await asyncio.to_thread(measured)
    assert (warmed, len(server.heads) - warmed) == (100, 20)
    assert (seen.requests, seen.bad) == (20, 20)
    assert seen.p50_us is not None and seen.p99_us is not None and seen.p999_us is not None
    assert 0 < seen.p50_us <= seen.p99_us <= seen.p999_us
    assert shape.text == "open loop, 100/s evenly, 2 connections"


def test_as_a_load_it_refuses_what_is_not_http_and_who_does_not_run() -> None:
    call = GrpcRequest("/m", b"", lambda _: True)
    with pytest.raises(RuntimeError, match="by gRPC, not HTTP"):
        OpenLoop(rate=1).prepare(Fake(call, 1), WORKLOAD, 1)
    with pytest.raises(RuntimeError, match="cannot be asked"):
        OpenLoop(rate=1).prepare(Fake(None, 1), WORKLOAD, 1)
    with pytest.raises(RuntimeError, match="not started"):
        OpenLoop(rate=1).prepare(Fake(posting(), None), WORKLOAD, 1)
