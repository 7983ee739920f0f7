"""Models that are loaded by the first request for them, and leave again when nobody uses them."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from bench.targets.pyserver import Pyserver
from tests.backends.python_models import model
from tests.crash.processes import processes_by_role
from tests.serving import serving
from tests.waiting import wait_until

MODE = "--model-control-mode=on-demand"
PLAIN = "def execute(self, requests): return [answer(get(one).as_numpy()) for one in requests]"
# Each load leaves a line, and waits for a file if the model is to be held up.
COUNTED = """
def initialize(self, args):
    import os, time
    with open("{folder}/" + args["model_name"] + ".loads", "a") as lines:
        lines.write("x")
    while os.path.exists("{folder}/hold"):
        time.sleep(0.01)
    if os.path.exists("{folder}/fail"):
        raise RuntimeError("the weights are gone")
    self.memory = np.ones({megabytes} << 17)
def execute(self, requests):
    import os, time
    while os.path.exists("{folder}/busy"):
        time.sleep(0.01)
    return [answer(get(one).as_numpy()) for one in requests]
"""
CALLER = """
def execute(self, requests):
    request = pb_utils.InferenceRequest(model_name="called", inputs=[get(requests[0])],
                                        requested_output_names=["OUT"])
    response = request.exec()
    if response.has_error():
        raise pb_utils.TritonModelException(response.error().message())
    return [answer(response.output_tensors()[0].as_numpy())]
"""
ENSEMBLE = """
platform: "ensemble"
input [ { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] } ]
ensemble_scheduling { step [ { model_name: "step" model_version: -1
  input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "OUT" } } ] }
"""


def counted(folder: Path, name: str, megabytes: int = 0) -> None:
    model(folder / "models" / name, COUNTED.format(folder=folder, megabytes=megabytes))


def loads(folder: Path, name: str) -> int:
    path = folder / f"{name}.loads"
    return len(path.read_text()) if path.exists() else 0


class Server:
    """A running server, as these tests talk to it."""

    def __init__(self, server: Pyserver) -> None:
        assert server.ports is not None
        self.process = server
        self.http = server.ports.http
        self.grpc = triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")

    def get(self, path: str) -> Any:
        with urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def post(self, path: str, body: bytes = b"{}") -> tuple[int, str]:
        request = Request(f"http://127.0.0.1:{self.http}{path}", body, method="POST")
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def infer(self, name: str) -> tuple[int, str]:
        tensor = {"name": "IN", "datatype": "FP32", "shape": [2], "data": [1, 2]}
        return self.post(f"/v2/models/{name}/infer", json.dumps({"inputs": [tensor]}).encode())

    def index(self) -> dict[str, tuple[str, str]]:
        lines = json.loads(self.post("/v2/repository/index")[1])
        return {one["name"]: (one.get("state", ""), one.get("reason", "")) for one in lines}

    def state(self, name: str) -> str:
        return self.index()[name][0]

    def books(self) -> Any:
        return self.get("/v2/pyserver/counters")

    def parked(self) -> int:
        return sum(one["parked"] for one in self.books()["frontends"].values())

    def pids(self, name: str) -> set[int]:
        return {one["pid"] for one in self.books()["instances"] if one["model"] == name}


def tensor() -> triton.InferInput:
    given = triton.InferInput("IN", [2], "FP32")
    given.set_data_from_numpy(np.array([1, 2], np.float32))
    return given


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("on_demand")
    names = ("http", "unary", "stream", "crowd", "fails", "left", "step", "called", "again", "own")
    for name in names:
        counted(folder, name)
    model(folder / "models" / "caller", CALLER)
    model(folder / "models" / "pinned", PLAIN)
    (folder / "models" / "ensemble" / "1").mkdir(parents=True)
    (folder / "models" / "ensemble" / "config.pbtxt").write_text(ENSEMBLE)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    flags = (MODE, "--load-model=pinned", "--frontend-workers=2")
    with serving(folder / "server.log", folder / "models", *flags) as running:
        made = Server(running)
        yield made
        made.grpc.close()


@pytest.fixture
def hold(folder: Path) -> Iterator[Path]:
    """While it exists, loads do not end."""
    path = folder / "hold"
    path.touch()
    yield path
    path.unlink(missing_ok=True)


def test_at_the_start_only_pinned_models_are_loaded_and_the_server_is_ready(
    server: Server, folder: Path
) -> None:
    server.get("/v2/health/ready")
    assert server.state("pinned") == "READY"
    assert server.state("own") == ""
    with pytest.raises(HTTPError):
        server.get("/v2/models/own/ready")
    with pytest.raises(HTTPError):
        server.get("/v2/models/own/config")
    assert loads(folder, "own") == 0


def test_the_first_request_loads_its_model_over_http(server: Server, folder: Path) -> None:
    status, text = server.infer("http")
    assert status == 200, text
    assert json.loads(text)["outputs"][0]["data"] == [1.0, 2.0]
    assert server.infer("http")[0] == 200
    assert loads(folder, "http") == 1


def test_the_first_request_loads_its_model_over_grpc(server: Server, folder: Path) -> None:
    assert server.grpc.infer("unary", [tensor()]).as_numpy("OUT").tolist() == [1.0, 2.0]
    assert loads(folder, "unary") == 1


def test_the_first_request_of_a_stream_loads_its_model(server: Server, folder: Path) -> None:
    answers: Queue[Any] = Queue()
    server.grpc.start_stream(lambda result, error: answers.put(error or result))
    for name in ("stream", "pinned", "stream"):
        server.grpc.async_stream_infer(name, [tensor()])
    names = [answers.get(timeout=30).get_response().model_name for _ in range(3)]
    server.grpc.stop_stream()
    assert names == ["stream", "pinned", "stream"]
    assert loads(folder, "stream") == 1


def test_a_crowd_of_first_requests_waits_for_one_load(
    server: Server, folder: Path, hold: Path
) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = [pool.submit(server.infer, "crowd") for _ in range(50)]
        wait_until(lambda: server.parked() == 50, what="50 requests that wait")
        assert server.infer("pinned")[0] == 200  # meanwhile others are served
        server.get("/v2/health/ready")
        hold.unlink()
        assert {one.result()[0] for one in answers} == {200}
    assert loads(folder, "crowd") == 1
    assert server.parked() == 0


def test_a_failed_load_is_told_to_all_and_tried_again_but_not_with_each_request(
    server: Server, folder: Path, hold: Path
) -> None:
    broken = folder / "fail"
    broken.touch()
    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(server.infer, "fails") for _ in range(10)]
        wait_until(lambda: server.parked() == 10, what="10 requests that wait")
        hold.unlink()
        results = [one.result() for one in answers]
    assert {status for status, _ in results} == {503}
    assert all("the weights are gone" in text for _, text in results), results
    for _ in range(20):
        status, text = server.infer("fails")
        assert status == 503
        assert "the weights are gone" in text
    assert loads(folder, "fails") <= 3
    with pytest.raises(InferenceServerException, match="the weights are gone") as caught:
        server.grpc.infer("fails", [tensor()])
    assert "UNAVAILABLE" in str(caught.value.status())
    server.get("/v2/health/ready")  # that one model fails is no matter of the server's
    broken.unlink()
    wait_until(lambda: server.infer("fails")[0] == 200, timeout_s=30, what="the next attempt")


def test_clients_that_leave_while_they_wait_leave_nothing(
    server: Server, folder: Path, hold: Path
) -> None:
    body = b'{"inputs":[{"name":"IN","datatype":"FP32","shape":[1],"data":[1]}]}'
    head = f"POST /v2/models/left/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    clients = [socket.create_connection(("127.0.0.1", server.http)) for _ in range(5)]
    for one in clients:
        one.sendall(head.encode() + body)
    with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
        server.grpc.infer("left", [tensor()], client_timeout=0.2)
    wait_until(lambda: server.parked() == 5, what="5 requests that wait")
    for one in clients:
        one.close()
    wait_until(lambda: server.parked() == 0, what="nobody that waits")
    hold.unlink()
    wait_until(lambda: server.state("left") == "READY", what="the load to go on")
    frontends = server.books()["frontends"].values()
    assert {one["inflight"] for one in frontends} == {0}
    assert {one["region_live_blocks"] for one in frontends} == {0}


def test_an_ensemble_brings_the_models_of_its_steps(server: Server, folder: Path) -> None:
    assert server.infer("ensemble")[0] == 200
    assert loads(folder, "step") == 1
    assert server.state("step") == "READY"


def test_a_model_that_another_calls_is_loaded_for_the_call(server: Server, folder: Path) -> None:
    assert server.infer("caller")[0] == 200
    assert loads(folder, "called") == 1
    assert server.post("/v2/repository/models/called/unload")[0] == 200
    assert server.infer("caller")[0] == 200
    assert loads(folder, "called") == 2


def test_an_unloaded_model_is_loaded_again_by_the_next_request(
    server: Server, folder: Path
) -> None:
    assert server.post("/v2/repository/models/again/load")[0] == 200
    assert server.infer("again")[0] == 200
    assert server.post("/v2/repository/models/again/unload")[0] == 200
    wait_until(lambda: server.index()["again"] == ("UNAVAILABLE", "unloaded"), what="the unload")
    assert server.infer("again")[0] == 200
    assert loads(folder, "again") == 2


def test_a_name_that_is_no_model_loads_nothing(server: Server) -> None:
    status, text = server.infer("absent")
    assert status == 404
    assert "Request for unknown model: 'absent' is not found" in text


def test_requests_survive_that_their_model_leaves_again_and_again(
    server: Server, folder: Path
) -> None:
    stop = threading.Event()
    failures: list[str] = []

    def ask() -> int:
        count = 0
        while not stop.is_set():
            status, text = server.infer("own")
            count += 1
            if status != 200:
                failures.append(text)
        return count

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for _ in range(5):
            before = loads(folder, "own")
            server.post("/v2/repository/models/own/unload")
            wait_until(lambda before=before: loads(folder, "own") > before, what="the next load")
        stop.set()
        assert sum(one.result() for one in asking) > 5
    assert failures == []


def test_the_first_request_loads_an_onnx_model(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["IN", "IN"], ["OUT"])],
        "test",
        [info("IN", 1, [2])],
        [info("OUT", 1, [2])],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    (tmp_path / "models" / "twice" / "1").mkdir(parents=True)
    made = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.save(made, tmp_path / "models" / "twice" / "1" / "model.onnx")
    with serving(tmp_path / "server.log", tmp_path / "models", MODE) as running:
        server = Server(running)
        status, text = server.infer("twice")
        assert status == 200, text
        assert json.loads(text)["outputs"][0]["data"] == [2.0, 4.0]
        server.grpc.close()


def test_deaths_of_core_and_of_a_frontend_end_the_wait_and_nothing_more(tmp_path: Path) -> None:
    counted(tmp_path, "slow")
    hold = tmp_path / "hold"
    hold.touch()
    flags = (MODE, "--frontend-workers=1")
    with serving(tmp_path / "server.log", tmp_path / "models", *flags) as running:
        server = Server(running)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.infer, "slow")
            wait_until(lambda: server.parked() == 1, what="a request that waits")
            os.kill(processes_by_role(running.pid)["core"][0], signal.SIGKILL)
            status, text = answer.result()
            assert status == 503
            assert "core process ended" in text

            def waits_again() -> bool:
                try:
                    return server.parked() == 1
                except HTTPError:  # no core yet
                    return False

            answer = pool.submit(until_served, server, "slow")
            wait_until(waits_again, timeout_s=30, what="a request that waits for the new core")
            os.kill(processes_by_role(running.pid)["frontend"][0], signal.SIGKILL)
            hold.unlink()
            assert answer.result()[0] == 200
        wait_until(lambda: server.state("slow") == "READY", what="the load to end")
        assert server.infer("slow")[0] == 200
        assert server.parked() == 0
        server.grpc.close()


def until_served(server: Server, name: str) -> tuple[int, str]:
    """Asks again when the server has no core, or the connection drops."""

    def ask() -> tuple[int, str] | None:
        try:
            status, text = server.infer(name)
        except OSError:
            return None
        return (status, text) if status == 200 else None

    served = wait_until(ask, timeout_s=60, what="an answer")
    assert served is not None
    return served


def test_after_the_keep_alive_a_model_and_its_processes_are_gone(tmp_path: Path) -> None:
    counted(tmp_path, "brief")
    counted(tmp_path, "step")
    model(tmp_path / "models" / "step_too", PLAIN)
    model(tmp_path / "models" / "pinned", PLAIN)
    (tmp_path / "models" / "ensemble" / "1").mkdir(parents=True)
    (tmp_path / "models" / "ensemble" / "config.pbtxt").write_text(ENSEMBLE)
    flags = (MODE, "--on-demand-keep-alive-secs=2", "--load-model=pinned")
    with serving(tmp_path / "server.log", tmp_path / "models", *flags) as running:
        server = Server(running)
        assert server.infer("brief")[0] == 200
        assert server.infer("ensemble")[0] == 200
        pids = server.pids("brief") | server.pids("step")
        assert len(pids) == 2
        wait_until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids),
            timeout_s=30,
            what="the processes to end",
        )
        assert server.index()["brief"] == ("UNAVAILABLE", "unloaded")
        assert server.state("pinned") == "READY"
        books = server.books()["on_demand"]
        assert books["expired"] == 3
        busy = tmp_path / "busy"
        busy.touch()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.infer, "brief")
            wait_until(lambda: server.state("brief") == "READY", what="the load")
            assert server.infer("step_too")[0] == 200  # with as long a keep-alive, and unused
            wait_until(lambda: server.state("step_too") != "READY", timeout_s=30, what="its end")
            assert server.state("brief") == "READY"  # it is in use
            busy.unlink()
            assert answer.result()[0] == 200
        server.grpc.close()


def test_room_is_made_by_the_least_recently_used_that_is_not_in_use(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        counted(tmp_path, name, megabytes=120)
    counted(tmp_path, "huge", megabytes=500)
    flags = (
        MODE,
        f"--on-demand-memory-limit-byte-size={400 << 20}",
        "--on-demand-keep-alive-secs=0",
    )
    with serving(tmp_path / "server.log", tmp_path / "models", *flags) as running:
        server = Server(running)
        for name in ("a", "b", "a"):
            assert server.infer(name)[0] == 200
        assert server.infer("c")[0] == 200  # together they are too large: b was used before a
        wait_until(lambda: server.state("b") == "UNAVAILABLE", what="b to leave")
        assert {server.state(name) for name in ("a", "c")} == {"READY"}
        assert server.infer("b")[0] == 200  # now its size is known: a leaves first
        assert server.state("a") != "READY"
        assert loads(tmp_path, "a") == 1

        status, text = server.infer("huge")
        assert status == 503
        assert f"--on-demand-memory-limit-byte-size={400 << 20}" in text
        assert "model 'huge' alone needs 5" in text
        assert server.infer("huge")[0] == 503
        assert loads(tmp_path, "huge") == 1
        server.grpc.close()


def test_what_is_in_use_is_never_evicted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        counted(tmp_path, name, megabytes=120)
    flags = (
        MODE,
        f"--on-demand-memory-limit-byte-size={260 << 20}",
        "--on-demand-load-timeout-secs=60",
    )
    with serving(tmp_path / "server.log", tmp_path / "models", *flags) as running:
        server = Server(running)
        for name in ("a", "b"):  # their sizes are known then
            assert server.infer(name)[0] == 200
        wait_until(lambda: server.state("a") == "UNAVAILABLE", what="a to leave")
        busy = tmp_path / "busy"
        busy.touch()
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(server.infer, "b")
            wait_until(lambda: server.books()["engine"]["live_batches"] == 1, what="b to be busy")
            second = pool.submit(server.infer, "a")
            wait_until(lambda: server.parked() == 1, what="a request that waits")
            assert server.books()["on_demand"]["loading"] == ["a"]
            assert server.state("b") == "READY"
            assert not first.done()
            busy.unlink()
            assert first.result()[0] == 200
            assert second.result()[0] == 200
        assert loads(tmp_path, "a") == 2
        server.grpc.close()


def test_who_waits_too_long_is_told_and_an_exit_ends_the_wait(tmp_path: Path) -> None:
    counted(tmp_path, "slow")
    hold = tmp_path / "hold"
    hold.touch()
    log = tmp_path / "server.log"
    flags = (MODE, "--on-demand-load-timeout-secs=1", "--exit-timeout-secs=20")
    with serving(log, tmp_path / "models", *flags) as running:
        server = Server(running)
        status, text = server.infer("slow")
        assert status == 503
        assert "was not loaded within 1 s" in text
        server.grpc.close()
    hold.touch()
    server_again = Pyserver(tmp_path / "again.log")
    server_again.start(tmp_path / "models", extra=(MODE, "--exit-timeout-secs=20"))
    wait_until(
        lambda: "s after the start" in (tmp_path / "again.log").read_text(),
        timeout_s=60,
        what="a ready server",
    )
    server = Server(server_again)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.infer, "slow")
        wait_until(lambda: server.parked() == 1, what="a request that waits")
        pids = server_again.pids()
        assert server_again.stop() == 0, server_again.log_tail()
        status, text = answer.result()
    assert (status, json.loads(text)) == (503, {"error": "Server exiting"})
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    server.grpc.close()
