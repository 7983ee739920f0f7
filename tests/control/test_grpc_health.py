"""grpc.health.v1: Check says what is, Watch says what changes."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from pyserver.control.grpc_stubs.health_pb2 import HealthCheckRequest, HealthCheckResponse
from tests.control.grpc_bench import GrpcBench, grpc_bench

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


async def check(bench: GrpcBench, service: str = "") -> int:
    call = bench.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return int((await call(HealthCheckRequest(service=service))).status)


class Watcher:
    def __init__(self, bench: GrpcBench) -> None:
        call = bench.channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        self.call = call(HealthCheckRequest())

    async def next(self) -> int | None:
        """The next status; None: the server has ended the watch."""
        async with asyncio.timeout(5):
            answer = await self.call.read()
        return None if answer is grpc.aio.EOF else int(answer.status)

    async def hears_nothing(self) -> bool:
        try:
            async with asyncio.timeout(0.1):
                await asyncio.shield(pending := asyncio.ensure_future(self.call.read()))
        except TimeoutError:
            pending.cancel()
            return True
        return False


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService", "no such thing"])
async def test_check_says_whether_the_server_is_ready(service: str) -> None:
    async with grpc_bench() as bench:
        assert await check(bench, service) == SERVING
        bench.server.ready = False
        assert await check(bench, service) == NOT_SERVING


async def test_check_is_refused_when_the_server_exits() -> None:
    async with grpc_bench() as bench:
        bench.server.exiting = True
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await check(bench)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert refused.value.details() == "Server exiting"


async def test_every_watcher_hears_of_every_change_and_of_changes_only() -> None:
    async with grpc_bench() as bench:
        watchers = [Watcher(bench) for _ in range(20)]
        assert [await one.next() for one in watchers] == [SERVING] * 20
        bench.server_side.notice_health()  # nothing has changed
        bench.server.ready = False
        bench.server_side.notice_health()
        assert [await one.next() for one in watchers] == [NOT_SERVING] * 20
        watchers.pop().call.cancel()
        bench.server.ready = True
        bench.server_side.notice_health()
        assert [await one.next() for one in watchers] == [SERVING] * 19
        assert await Watcher(bench).next() == SERVING
        assert await watchers[0].hears_nothing()


async def test_watches_end_when_the_server_does() -> None:
    async with grpc_bench() as bench:
        watcher = Watcher(bench)
        assert await watcher.next() == SERVING
        bench.server.exiting = True
        bench.server_side.notice_health()
        assert await watcher.next() == NOT_SERVING
        closing = asyncio.ensure_future(bench.server_side.close(grace_s=5))
        assert await watcher.next() is None
        async with asyncio.timeout(2):
            await closing
