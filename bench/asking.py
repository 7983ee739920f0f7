"""One real call of a workload, judged; and what a model's own statistics count."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from bench.targets.process import Ports, ServerProcess
from bench.workload import GrpcRequest, HttpRequest, Request, Workload

_TIMEOUT_S = 30
_ANY_SIZE = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def ports_of(target: ServerProcess) -> Ports:
    if target.ports is None:
        raise RuntimeError(f"{target.name} was not started")
    return target.ports


def request_of(target: ServerProcess, workload: Workload) -> Request:
    """Raises RuntimeError if the target cannot be asked for it."""
    request = target.request(workload)
    if request is None:
        raise RuntimeError(f"{target.name} cannot be asked for {workload}")
    return request


def http_request_of(target: ServerProcess, workload: Workload) -> HttpRequest:
    request = request_of(target, workload)
    if not isinstance(request, HttpRequest):
        raise RuntimeError(f"{target.name} is asked for {workload} by gRPC, not HTTP")
    return request


def grpc_request_of(target: ServerProcess, workload: Workload) -> GrpcRequest:
    request = request_of(target, workload)
    if not isinstance(request, GrpcRequest):
        raise RuntimeError(f"{target.name} is asked for {workload} by HTTP, not gRPC")
    return request


def check(target: ServerProcess, workload: Workload) -> None:
    """Raise RuntimeError unless the very bytes that a load sends are answered rightly."""
    request, ports = request_of(target, workload), ports_of(target)
    if isinstance(request, HttpRequest):
        status, body = _post(ports.http, request)
        good, shown = status == 200 and request.right(body), f"{status}: {body[:500]!r}"
    else:
        answers = _call(ports.grpc, request)
        good, shown = request.right(answers), f"{len(answers)} messages: {answers[:1]!r:.500}"
    if not good:
        raise RuntimeError(f"{target.name} answers {workload} with {shown}")


def _post(port: int, request: HttpRequest) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", request.path, request.body, dict(request.headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def channel_to(port: int) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=_ANY_SIZE) as channel:
        yield channel


def _call(port: int, request: GrpcRequest) -> list[bytes]:
    # As a stream of answers, which a unary answer is too.
    with channel_to(port) as channel:
        call = channel.stream_stream(request.path)
        return list(call(iter([request.message]), timeout=_TIMEOUT_S))


@dataclass(frozen=True, slots=True)
class Counts:
    """A model's requests by the server's own statistics, since it was loaded."""

    succeeded: int
    failed: int


def counts(port: int, model: str) -> Counts:
    """The statistics once they stand still: they may be a moment behind the last answer."""
    request = pb.ModelStatisticsRequest(name=model)
    with channel_to(port) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        seen: Counts | None = None
        for _ in range(100):
            (stats,) = stub.ModelStatistics(request, timeout=_TIMEOUT_S).model_stats
            figures = stats.inference_stats
            now = Counts(figures.success.count, figures.fail.count)
            if now == seen:
                return now
            seen = now
            time.sleep(0.02)
    raise RuntimeError(f"the statistics of {model} still move, with the load gone")
