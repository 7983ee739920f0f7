"""Models that are loaded by the first request for them."""

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

import pytest
from tritonclient.utils import InferenceServerException

from tests.backends.python_models import model
from tests.crash.processes import processes_by_role
from tests.e2e.on_demand import ENSEMBLE, MODE, PLAIN, Server, counted, loads, tensor
from tests.serving import serving
from tests.waiting import wait_until

CALLER = """
def execute(self, requests):
    request = pb_utils.InferenceRequest(model_name="called", inputs=[get(requests[0])],
                                        requested_output_names=["OUT"])
    response = request.exec()
    if response.has_error():
        raise pb_utils.TritonModelException(response.error().message())
    return [answer(response.output_tensors()[0].as_numpy())]
"""


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
