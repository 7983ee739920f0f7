"""What one small inference costs over gRPC, on pyserver and on the real Triton, measured in turns.

    python -m bench.grpc                      both servers, all scenarios
    python -m bench.grpc --how h2load --in-flight 64 --target pyserver
    python -m bench.grpc --json /tmp/grpc.json    keeps every round
    python -m bench.grpc --soak 1000000       pyserver alone: is its memory flat over so many?

Both servers serve bench/models/; bench/rounds.py measures them.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from bench import rounds, soak
from bench.loads import h2load, perf_analyzer
from bench.targets.process import Ports

_FLOATS = struct.pack("<16f", *range(16))
_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_MOST_REQUESTS = 2_000_000  # of one run, whatever the pilot says


@dataclass(frozen=True, slots=True)
class Counts:
    """A model's requests by the server's own statistics, since it was loaded."""

    succeeded: int
    failed: int


@contextmanager
def _channel(ports: Ports) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        yield channel


def _counts(ports: Ports, model: str) -> Counts:
    """The statistics once they stand still: they may be a moment behind the last answer."""
    request = pb.ModelStatisticsRequest(name=model)
    with _channel(ports) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        seen: Counts | None = None
        for _ in range(100):
            (stats,) = stub.ModelStatistics(request, timeout=10).model_stats
            figures = stats.inference_stats
            now = Counts(figures.success.count, figures.fail.count)
            if now == seen:
                return now
            seen = now
            time.sleep(0.02)
    raise RuntimeError(f"the statistics of {model} still move, with the load gone")


def _message(model: str) -> bytes:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 16])
    request.raw_input_contents.append(_FLOATS)
    return request.SerializeToString()


def _check(ports: Ports, model: str) -> None:
    """One real call with the very bytes that h2load sends."""
    with _channel(ports) as channel:
        call = channel.unary_unary(_METHOD, response_deserializer=pb.ModelInferResponse.FromString)
        answer = call(_message(model), timeout=10)
    if list(answer.raw_output_contents) != [_FLOATS]:
        raise RuntimeError(f"{model} answers 16 floats with {answer}")


@dataclass(frozen=True, slots=True)
class H2loadScenario:
    """Unary calls, `streams` at once on each of the connections.

    `requests` may fix their number; without it they are as many as take the time.
    """

    model: str
    connections: int
    streams: int
    requests: int | None = None

    @property
    def load(self) -> str:
        return f"h2load, {self.connections} x {self.streams}"

    @property
    def how(self) -> str:
        return "h2load"

    @property
    def in_flight(self) -> int:
        return self.connections * self.streams

    def check(self, ports: Ports) -> None:
        _check(ports, self.model)

    def prepare(self, ports: Ports, seconds: int) -> Callable[[], rounds.Seen]:
        requests = self.requests
        if requests is None:
            pilot = self._run(ports, 1000)
            warm = self._run(ports, min(int(pilot.per_second) + 1, _MOST_REQUESTS))
            requests = min(int(warm.per_second * seconds) + 1, _MOST_REQUESTS)
        before = _counts(ports, self.model)
        return lambda: self._counted(ports, requests, before)

    def _counted(self, ports: Ports, requests: int, before: Counts) -> rounds.Seen:
        seen = self._run(ports, requests)
        after = _counts(ports, self.model)
        refused = requests - (after.succeeded - before.succeeded)
        return rounds.Seen(
            requests=seen.requests,
            per_second=seen.per_second,
            p50_us=seen.p50_us,
            p99_us=seen.p99_us,
            bad=max(seen.bad, refused, after.failed - before.failed),
        )

    def _run(self, ports: Ports, requests: int) -> h2load.H2loadResult:
        return h2load.run(
            h2load.GrpcLoad(_METHOD, _message(self.model)),
            ports.grpc,
            connections=self.connections,
            streams=self.streams,
            requests=requests,
        )


@dataclass(frozen=True, slots=True)
class PerfAnalyzerScenario:
    """Triton's own client library under Triton's own load generator: see perf_analyzer.HOW."""

    model: str
    how: str
    in_flight: int

    @property
    def load(self) -> str:
        return f"perf_analyzer {self.how}, {self.in_flight}"

    def check(self, ports: Ports) -> None:
        _check(ports, self.model)

    def prepare(self, ports: Ports, seconds: int) -> Callable[[], rounds.Seen]:
        self._run(ports, window_ms=300)
        before = _counts(ports, self.model)
        return lambda: self._counted(ports, seconds, before)

    def _counted(self, ports: Ports, seconds: int, before: Counts) -> rounds.Seen:
        # It reports three windows, but the server also worked before, between and after them.
        seen = self._run(ports, window_ms=seconds * 1000 // 3)
        after = _counts(ports, self.model)
        return rounds.Seen(
            requests=after.succeeded - before.succeeded,
            per_second=seen.per_second,
            p50_us=seen.p50_us,
            p99_us=seen.p99_us,
            bad=after.failed - before.failed,
        )

    def _run(self, ports: Ports, *, window_ms: int) -> perf_analyzer.PerfAnalyzerResult:
        return perf_analyzer.run(
            ports.grpc,
            self.model,
            how=self.how,
            concurrency=self.in_flight,
            window_ms=window_ms,
        )


def _scenarios(model: str) -> Iterator[H2loadScenario | PerfAnalyzerScenario]:
    for connections, streams in ((1, 1), (4, 16), (1, 64)):
        yield H2loadScenario(model, connections, streams)
    for how in ("sync", "stream"):
        for in_flight in (1, 64):
            yield PerfAnalyzerScenario(model, how, in_flight)


def main() -> None:
    generators = ("h2load", "sync", "stream")
    parser = rounds.command_line("Cost of a small gRPC inference")
    parser.add_argument(
        "--how", choices=generators, action="append", help="h2load, or perf_analyzer's way"
    )
    parser.add_argument("--in-flight", type=int, choices=[1, 64], action="append")
    parser.add_argument("--soak", type=int, metavar="REQUESTS", help="watch the memory instead")
    arguments = parser.parse_args()
    if not h2load.available():
        raise SystemExit("h2load is missing: apt-get install nghttp2-client")
    if arguments.soak:
        part = H2loadScenario("identity", 4, 16, requests=arguments.soak // soak.SLICES)
        raise SystemExit(soak.main(arguments, part))
    chosen = arguments.how or generators
    if not perf_analyzer.installed():
        print(f"no perf_analyzer: {perf_analyzer.INSTALL}")
        chosen = [how for how in chosen if how == "h2load"]
    scenarios = [
        one
        for model in arguments.model or rounds.MODEL_NAMES
        for one in _scenarios(model)
        if one.how in chosen and one.in_flight in (arguments.in_flight or (1, 64))
    ]
    rounds.compare(arguments, scenarios)


if __name__ == "__main__":
    main()
