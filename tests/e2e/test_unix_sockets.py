"""Both protocols at Unix-domain sockets: stock clients, restarts, and what is left at the end."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import queue
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import tritonclient.grpc as grpc_client

from bench.targets.pyserver import Pyserver
from tests.crash.processes import processes_by_role
from tests.e2e.conftest import REPOSITORIES
from tests.serving import serving
from tests.waiting import wait_until

MODEL = "identity_fp32"
WORKERS = 3


class UnixConnection(http.client.HTTPConnection):
    """The standard library's client, at a socket's file."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self._path))


@dataclass(frozen=True, slots=True)
class Sockets:
    server: Pyserver
    http: Path
    grpc: Path

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        connection = UnixConnection(self.http)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content else None
        finally:
            connection.close()

    def frontends(self) -> list[int]:
        return processes_by_role(self.server.pid).get("frontend", [])


@pytest.fixture(scope="module")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sockets]:
    folder = tmp_path_factory.mktemp("unix")
    http_path, grpc_path = folder / "http.sock", folder / "grpc.sock"
    with serving(
        folder / "server.log",
        REPOSITORIES[1],
        "--model-control-mode=explicit",
        f"--load-model={MODEL}",
        f"--http-address=unix:{http_path}",
        f"--grpc-address=unix:{grpc_path}",
        f"--frontend-workers={WORKERS}",
    ) as server:
        yield Sockets(server, http_path, grpc_path)
    assert sorted(path.name for path in folder.iterdir()) == ["server.log"]


def _inputs(data: np.ndarray) -> list[grpc_client.InferInput]:
    tensor = grpc_client.InferInput("INPUT0", list(data.shape), "FP32")
    tensor.set_data_from_numpy(data)
    return [tensor]


def test_the_stock_grpc_client_infers(sockets: Sockets) -> None:
    data = np.arange(1_000_000, dtype=np.float32).reshape(1, -1)
    with grpc_client.InferenceServerClient(f"unix:{sockets.grpc}") as client:
        assert client.is_server_ready()
        result = client.infer(MODEL, _inputs(data))
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), data)
        assert client.get_model_metadata(MODEL).name == MODEL


def test_the_stock_grpc_client_streams(sockets: Sockets) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    data = np.ones((1, 3), np.float32)
    with grpc_client.InferenceServerClient(f"unix:{sockets.grpc}") as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for _ in range(20):
            client.async_stream_infer(MODEL, _inputs(data))
        for _ in range(20):
            result, error = answers.get(timeout=20)
            assert error is None
            np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), data)
        client.stop_stream()


def test_http_clients_infer(sockets: Sockets) -> None:
    values = list(range(100_000))
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [1, len(values)], "data": values}
    request = {"inputs": [tensor]}
    path = f"/v2/models/{MODEL}/infer"
    status, answer = sockets.ask("POST", path, json.dumps(request).encode())
    assert (status, answer["outputs"][0]["data"]) == (200, values)

    async def by_aiohttp() -> Any:
        connector = aiohttp.UnixConnector(path=str(sockets.http))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.post(f"http://any{path}", json=request) as given:
                return await given.json()

    assert asyncio.run(by_aiohttp())["outputs"] == answer["outputs"]


def test_no_port_is_open(sockets: Sockets) -> None:
    assert sockets.server.ports is not None
    for port in (sockets.server.ports.http, sockets.server.ports.grpc):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_the_log_says_where(sockets: Sockets) -> None:
    log = sockets.http.with_name("server.log").read_text()
    assert f"Started HTTPService at unix:{sockets.http}" in log
    assert f"Started GRPCInferenceService at unix:{sockets.grpc}" in log


def test_all_frontends_take_their_share_of_connections(sockets: Sockets) -> None:
    def accepted() -> dict[str, int]:
        _, counters = sockets.ask("GET", "/v2/pyserver/counters")
        return {index: one["connections_accepted"] for index, one in counters["frontends"].items()}

    before = accepted()
    for _ in range(10 * WORKERS):
        assert sockets.ask("GET", "/v2/health/live")[0] == 200
    after = accepted()
    assert len(after) == WORKERS
    assert min(after[index] - before[index] for index in after) >= 3


def test_a_killed_frontend_leaves_the_socket_to_the_others_and_to_its_successor(
    sockets: Sockets,
) -> None:
    for pid in sockets.frontends():
        os.kill(pid, signal.SIGKILL)
        for _ in range(5):
            assert sockets.ask("GET", "/v2/health/ready")[0] == 200
        wait_until(
            lambda pid=pid: pid not in (now := sockets.frontends()) and len(now) == WORKERS,
            what="a new frontend",
        )
    test_the_stock_grpc_client_infers(sockets)


def test_all_frontends_killed_at_once_are_missed_for_a_moment_only(sockets: Sockets) -> None:
    for pid in sockets.frontends():
        os.kill(pid, signal.SIGKILL)
    # The supervisor holds the socket: the connection waits until somebody takes it.
    assert sockets.ask("GET", "/v2/health/live")[0] == 200


def test_a_second_server_is_refused_and_the_first_lives_on(
    sockets: Sockets, tmp_path: Path
) -> None:
    second = Pyserver(tmp_path / "server.log")
    second.start(
        REPOSITORIES[1],
        extra=["--model-control-mode=explicit", f"--http-address=unix:{sockets.http}"],
    )
    try:
        wait_until(lambda: not second.running(), what="the second server's end")
    finally:
        code = second.stop()
    assert code == 1
    assert f"cannot listen at unix:{sockets.http}: the socket is in use" in second.log_tail()
    assert sockets.ask("GET", "/v2/health/ready")[0] == 200
