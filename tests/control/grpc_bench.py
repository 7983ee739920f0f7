"""The gRPC server alone, on the same fakes as the HTTP routes, and clients that reach it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from pyserver.control.grpc_api.server import GrpcServer
from pyserver.control.grpc_api.start import serve_grpc
from tests.control.routes_bench import Bench


class GrpcBench(Bench):
    """`target` is what clients connect to; `channel` one that is connected."""

    server_side: GrpcServer
    channel: grpc.aio.Channel

    @property
    def target(self) -> str:
        return f"unix:/proc/self/fd/{self.server_side.link_fd}"


@asynccontextmanager
async def grpc_bench(**settings: Any) -> AsyncIterator[GrpcBench]:
    bench = GrpcBench(**settings)
    bench.server_side = await serve_grpc(bench.services)
    try:
        async with grpc.aio.insecure_channel(bench.target) as bench.channel:
            yield bench
    finally:
        await bench.server_side.close(grace_s=0)
