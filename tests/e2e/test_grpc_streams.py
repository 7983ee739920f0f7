"""Many streams of decoupled models at once; clients that stop reading, and clients that vanish."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bench import cpu
from bench.targets.pyserver import Pyserver

STREAMS, RESPONSES = 1000, 100
MIB = 2**20


@pytest.fixture()
def grpc_address(server: Pyserver) -> str:
    assert server.ports is not None
    return f"127.0.0.1:{server.ports.grpc}"


def message(model: str, *, request_id: str = "", **inputs: int) -> service_pb2.ModelInferRequest:
    """A request with one number for each input, which wants to hear of the end."""
    made = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    made.parameters["triton_enable_empty_final_response"].bool_param = True
    for name, number in inputs.items():
        made.inputs.add(name=name, datatype="INT32", shape=[1])
        made.raw_input_contents.append(np.int32(number).tobytes())
    return made


def number_of(response: service_pb2.ModelInferResponse) -> int:
    return int.from_bytes(response.raw_output_contents[0], "little")


def is_final(response: service_pb2.ModelInferResponse) -> bool:
    return response.parameters["triton_final_response"].bool_param


def test_a_thousand_streams_get_all_their_responses_in_order(grpc_address: str) -> None:
    finished = 0

    async def one_stream(stub: service_pb2_grpc.GRPCInferenceServiceStub, name: str) -> None:
        nonlocal finished
        call = stub.ModelStreamInfer()
        await call.write(message("turns", request_id=name, COUNT=RESPONSES))
        await call.done_writing()
        numbers, finals = [], []
        async for answer in call:
            response = answer.infer_response
            assert answer.error_message == "" and response.id == name
            finals.append(is_final(response))
            numbers += [] if finals[-1] else [number_of(response)]
        assert numbers == list(range(RESPONSES))
        assert finals == [False] * RESPONSES + [True]
        assert await call.code() is grpc.StatusCode.OK
        finished += 1

    async def all_streams() -> None:
        async with grpc.aio.insecure_channel(grpc_address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            await asyncio.gather(*(one_stream(stub, f"r{index}") for index in range(STREAMS)))

    asyncio.run(asyncio.wait_for(all_streams(), timeout=240))
    assert finished == STREAMS


class Reader:
    """A stream of `flood` that is read only as far as somebody asks."""

    def __init__(self, address: str, *, count: int, size: int) -> None:
        self._channel = grpc.insecure_channel(address)
        stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._half_open = threading.Event()

        def requests() -> Iterator[service_pb2.ModelInferRequest]:
            yield message("flood", COUNT=count, BYTES=size)
            self._half_open.wait()

        self.call = stub.ModelStreamInfer(requests())

    def read(self) -> service_pb2.ModelInferResponse:
        answer = next(self.call)
        assert answer.error_message == ""
        return answer.infer_response

    def close(self) -> None:
        self._half_open.set()
        self.call.cancel()
        self._channel.close()


def rss_bytes(server: Pyserver) -> int:
    return cpu.sample(server.pids()).rss_bytes


@pytest.mark.parametrize(("count", "size"), [(20_000, 8192), (60_000, 0)])
def test_a_client_that_stops_reading_holds_up_its_model_and_loses_nothing(
    server: Pyserver, grpc_address: str, count: int, size: int
) -> None:
    before_bytes = rss_bytes(server)
    reader = Reader(grpc_address, count=count, size=size)
    try:
        assert number_of(reader.read()) == 0
        time.sleep(1.5)  # it does not read meanwhile; nothing tells of what does not happen
        grown = rss_bytes(server) - before_bytes
        assert grown < 64 * MIB, f"{grown / MIB:.0f} MiB more"
        for number in range(1, count):
            assert number_of(reader.read()) == number
        assert is_final(reader.read())
    finally:
        reader.close()


def test_a_client_that_cancels_frees_its_model(grpc_address: str) -> None:
    endless = Reader(grpc_address, count=-1, size=1 << 16)
    assert number_of(endless.read()) == 0
    endless.close()
    assert_free_within(grpc_address, 1.0)


_VANISHING = """
import sys
from tests.e2e.test_grpc_streams import Reader
reader = Reader(sys.argv[1], count=-1, size=1 << 16)
reader.read()
print("reading", flush=True)
while True:
    reader.read()
"""


def test_a_client_that_vanishes_frees_its_request(grpc_address: str) -> None:
    """The model has one instance, so the next request is answered when the first has ended."""
    with subprocess.Popen(
        [sys.executable, "-c", _VANISHING, grpc_address], stdout=subprocess.PIPE
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"reading\n"
        client.send_signal(signal.SIGKILL)
        client.wait()
        assert_free_within(grpc_address, 1.0)


def assert_free_within(address: str, seconds: float) -> None:
    begin = time.monotonic()
    reader = Reader(address, count=1, size=1)
    try:
        assert number_of(reader.read()) == 0
    finally:
        reader.close()
    assert time.monotonic() - begin < seconds


def test_a_deadline_ends_a_stream_and_its_request(grpc_address: str) -> None:
    with grpc.insecure_channel(grpc_address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        call = stub.ModelStreamInfer(iter([message("flood", COUNT=-1, BYTES=100)]), timeout=0.3)
        with pytest.raises(grpc.RpcError) as ended:
            for _ in call:
                pass
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert_free_within(grpc_address, 1.0)
