"""A frontend process between a supervisor and a core that the test plays, on real sockets."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyserver._core import Engine
from pyserver.control.channel import ControlClosed, ControlSocket, Message, pair
from pyserver.settings import Settings
from tests.waiting import wait_until

REGION_BYTES = 16 << 20
INPUT = {
    "name": "INPUT0",
    "datatype": "FP32",
    "dims": [-1],
    "reshape": None,
    "optional": False,
    "ragged": False,
    "shape_tensor": False,
}
OUTPUT = {"name": "OUTPUT0", "datatype": "FP32", "dims": [-1], "reshape": None, "labels": None}
SPEC = {
    "max_batch_size": 0,
    "decoupled": False,
    "inputs": [INPUT],
    "outputs": [OUTPUT],
    "sequence": None,
}
MODEL: Message = {
    "op": "model",
    "name": "m",
    "versions": [{"version": 1, "handle": 1, "state": "READY", "spec": SPEC}],
}
BODY = json.dumps(
    {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1], "data": [1.5]}]}
).encode()


class Frontend:
    """The process, the supervisor's end of its control socket, and its listening socket."""

    def __init__(self, settings: Settings) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = int(self.listening.getsockname()[1])
        self.supervisor, theirs = pair()
        root = str(Path(__file__).parents[2])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pyserver.frontend", f"--control-fd={theirs.fileno()}"],
            pass_fds=(theirs.fileno(),),
            env=os.environ | {"PYTHONPATH": root},
        )
        theirs.close()
        self.supervisor.send(
            {"op": "start", "settings": settings.to_dict(), "index": 0, "protocols": ["http"]},
            [self.listening.fileno()],
        )

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content else None
        finally:
            connection.close()

    def close(self) -> None:
        self.supervisor.close()
        self.process.wait(10)
        self.listening.close()


class Core:
    """What core says to a frontend. Its engine is real, its models have no instance."""

    def __init__(self, frontend: Frontend) -> None:
        self.engine = Engine(REGION_BYTES, REGION_BYTES)
        self.engine.start()
        self.control, theirs = pair()
        frontend.supervisor.send({"op": "core"}, [theirs.fileno()])
        theirs.close()
        assert self.receive() == ({"op": "hello", "index": 0}, [])
        self.peer, fds = self.engine.make_peer("frontend", REGION_BYTES)
        self.control.send({"op": "attach", "peer": self.peer}, fds)
        for fd in fds:
            os.close(fd)
        self.control.send({"op": "region", "peer": 0}, [self.engine.region_fd])
        assert self.receive() == ({"op": "region_ok", "peer": 0}, [])

    def receive(self) -> tuple[Message, list[int]]:
        return _receive(self.control)

    def serve(self) -> None:
        self.engine.add_model(
            1,
            {
                "name": "m",
                "version": 1,
                "policy": "direct",
                "max_batch_size": 0,
                "preferred_batch_sizes": [],
                "max_queue_delay_us": 0,
            },
        )
        self.control.send(MODEL)
        self.control.send({"op": "serve"})

    def counters(self) -> Message:
        self.control.send({"op": "counters"})
        message, _ = self.receive()
        return message

    def die(self) -> None:
        self.control.close()
        self.engine.stop()


def _receive(control: ControlSocket) -> tuple[Message, list[int]]:
    readable, _, _ = select.select([control], [], [], 10)
    assert readable, "no message came"
    return control.receive()


@pytest.fixture
def frontend() -> Iterator[Frontend]:
    made = Frontend(Settings())
    yield made
    made.close()


@pytest.fixture
def core(frontend: Frontend) -> Iterator[Core]:
    made = Core(frontend)
    made.serve()
    assert _receive(frontend.supervisor) == ({"op": "listening"}, [])
    yield made
    made.die()


def test_liveness_and_unknown_models(frontend: Frontend, core: Core) -> None:
    assert frontend.request("GET", "/v2/health/live") == (200, None)
    assert frontend.request("POST", "/v2/models/nope/infer", BODY) == (
        404,
        {"error": "Request for unknown model: 'nope' is not found"},
    )


def test_health_says_what_core_says(frontend: Frontend, core: Core) -> None:
    core.control.send({"op": "health", "ready": False, "live": False})
    core.counters()  # all that was sent before has been taken in by then
    assert frontend.request("GET", "/v2/health/live") == (400, None)


def test_what_is_not_inference_goes_to_core(frontend: Frontend, core: Core) -> None:
    client = socket.create_connection(("127.0.0.1", frontend.port))
    client.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
    message, (fd,) = core.receive()
    assert message == {"op": "proxy"}
    upstream = socket.socket(fileno=fd)
    upstream.setblocking(True)
    assert upstream.recv(1000).startswith(b"GET /v2 HTTP/1.1\r\n")
    upstream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.recv(1000).endswith(b"\r\n\r\nok")
    client.close()
    upstream.close()


def test_a_request_in_flight_is_answered_at_once_when_core_dies(
    frontend: Frontend, core: Core
) -> None:
    client = http.client.HTTPConnection("127.0.0.1", frontend.port, timeout=10)
    client.request("POST", "/v2/models/m/infer", BODY)
    wait_until(lambda: core.counters()["inflight"] == 1, what="the request")
    core.control.close()
    answer = client.getresponse()
    assert answer.status == 503
    assert "core" in json.loads(answer.read())["error"]
    assert frontend.request("POST", "/v2/models/m/infer", BODY)[0] == 503
    assert frontend.request("GET", "/v2")[0] == 503
    assert frontend.request("GET", "/v2/health/live") == (200, None)
    client.close()


def test_a_new_core_is_served_with(frontend: Frontend, core: Core) -> None:
    core.control.close()
    other = Core(frontend)
    other.serve()
    wait_until(
        lambda: frontend.request("POST", "/v2/models/nope/infer", BODY)[0] == 404,
        what="the catalog of the new core",
    )
    assert other.counters()["core_losses"] == 1
    other.die()


def test_a_model_that_is_forgotten_is_unknown(frontend: Frontend, core: Core) -> None:
    core.control.send({"op": "forget", "name": "m"})
    core.counters()
    assert frontend.request("POST", "/v2/models/m/infer", BODY)[0] == 404


def test_clients_that_leave_leave_nothing(frontend: Frontend, core: Core) -> None:
    clients = []
    for _ in range(5):
        client = http.client.HTTPConnection("127.0.0.1", frontend.port, timeout=10)
        client.request("POST", "/v2/models/m/infer", BODY)
        clients.append(client)
    wait_until(lambda: core.counters()["inflight"] == 5, what="the requests")
    for client in clients:
        client.close()
    wait_until(lambda: core.counters()["inflight"] == 0, what="the cancellations")
    figures = core.counters()
    assert figures["region_live_blocks"] == 0
    assert figures["connections_open"] == 0
    assert core.engine.counters()["live_requests"] == 0


def test_draining_answers_what_is_under_way(frontend: Frontend, core: Core) -> None:
    idle = socket.create_connection(("127.0.0.1", frontend.port))
    busy = socket.create_connection(("127.0.0.1", frontend.port))
    busy.sendall(b"GET /v2 HTTP/1.1\r\n\r\n")
    _, (fd,) = core.receive()
    frontend.supervisor.send({"op": "drain"})
    assert idle.recv(1) == b""
    assert not select.select([frontend.supervisor], [], [], 0.1)[0]
    upstream = socket.socket(fileno=fd)
    upstream.setblocking(True)
    upstream.recv(1000)
    upstream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert b"Connection: close\r\n" in busy.recv(1000)
    assert _receive(frontend.supervisor) == ({"op": "drained"}, [])
    for one in (idle, busy, upstream):
        one.close()
    frontend.supervisor.send({"op": "stop"})
    assert frontend.process.wait(10) == 0


def test_signals_are_the_supervisors_business(frontend: Frontend, core: Core) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        frontend.process.send_signal(number)
    assert frontend.request("GET", "/v2/health/live") == (200, None)


def test_it_ends_with_its_supervisor(frontend: Frontend, core: Core) -> None:
    frontend.supervisor.close()
    assert frontend.process.wait(10) == 0
    with pytest.raises(ControlClosed):
        while True:
            core.receive()


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, pyserver.frontend.link;"
        "print([m for m in ('numpy', 'aiohttp', 'asyncio', 'google.protobuf', 'grpc')"
        " if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert answer.stdout.strip() == "[]"
