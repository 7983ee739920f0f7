"""A hundred thousand calls of every kind leave nothing behind: no request, no memory of a region,
no descriptor, and processes as large as they were.
"""

from __future__ import annotations

import http.client
import json
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as client
from tritonclient.utils import InferenceServerException

from bench.targets.pyserver import Pyserver
from tests.bls.conftest import Run
from tests.crash.processes import holdings
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

REQUESTS, CALLS = 100, 1000
# 1,000 calls; five of them are of a model that raises or refuses, ten have many answers.
MIXED = """
def run(request):
    x = given(request)

    def one(n):
        return out(ask("add", [tensor([n])]).exec()).as_numpy()[0]

    async def several(count):
        calls = [ask("add", [x]).async_exec() for _ in range(count)]
        calls.append(ask("add", [tensor([13])]).async_exec())
        *good, bad = await asyncio.gather(*calls)
        assert bad.error().message() == "thirteen is refused"
        assert all(out(one).as_numpy()[0] == 101 for one in good)

    chained = x.as_numpy()
    for _ in range(300):
        chained = out(ask("add", [tensor(chained)]).exec()).as_numpy()
    assert chained[0] == 400
    for n in range(300):
        one(n + 100)
    for _ in range(4):
        asyncio.run(several(74))
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(one, range(100, 185))) == list(range(101, 186))
    for _ in range(5):
        assert "raised" in ask("raise", [x]).exec().error().message()
    for n in range(10):
        answers = ask("count", [tensor([5])]).exec(decoupled=True)
        if n % 2:
            next(answers)
            answers.cancel()
        else:
            assert len(list(answers)) == 6
    return [1000]
"""
BOOKS = """
def run(request):
    request.is_cancelled()  # takes in what core has said
    own = books()
    return [own["used_bytes"], own["live_blocks"], own["calls"]]
"""


def counters(address: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request("GET", "/v2/pyserver/counters")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return found


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


class Broken:
    """A client that sends the same request and goes away while the calls are under way."""

    def __init__(self, server: Pyserver) -> None:
        assert server.ports is not None
        self._client = grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")
        self._given = grpc.InferInput("X", [1], "FP32")
        self._given.set_data_from_numpy(np.array([100], np.float32))

    def ask_and_go(self) -> None:
        over = threading.Event()
        context = self._client.async_infer(
            "lab",
            [self._given],
            callback=lambda result, error: over.set(),
            parameters={"code": textwrap.dedent(MIXED)},
            client_timeout=30,
        )
        context.cancel()
        assert over.wait(30)

    def close(self) -> None:
        self._client.close()


def test_a_hundred_thousand_calls_leave_nothing(
    run: Run, triton: client.InferenceServerClient, server: Pyserver, address: str
) -> None:
    triton.load_model("raise")
    broken = Broken(server)

    def some(requests: int) -> None:
        for number in range(requests):
            assert run(MIXED, 100).tolist() == [CALLS]
            if number % 5 == 0:
                broken.ask_and_go()

    def settled() -> dict[str, Any]:
        wait_until(
            lambda: counters(address)["engine"]["live_requests"] == 0, what="the last requests"
        )
        wait_until(lambda: counters(address)["engine"]["live_leases"] == 0, what="their memory")
        books = run(BOOKS, 1).tolist()
        frontends = [
            {name: one[name] for name in ("region_used_bytes", "region_live_blocks")}
            for one in counters(address)["frontends"].values()
        ]
        fds = {pid: holdings(pid) for pid in sorted(server.pids())}
        return {"books": books, "frontends": frontends, "fds": fds}

    try:
        some(REQUESTS // 10)
        before = settled()
        resident = {pid: resident_kib(pid) for pid in server.pids()}
        some(REQUESTS - REQUESTS // 10)
        wait_until(lambda: settled() == before, what="books as before")
        for pid, kib in resident.items():
            assert resident_kib(pid) < kib * 1.02 + 1024, Path(f"/proc/{pid}/comm").read_text()
        assert counters(address)["engine"]["violations"] == 0
    finally:
        broken.close()


def test_recursion_ends_where_instances_do(run: Run) -> None:
    """Each level occupies an instance: the third of two would wait for the first."""
    code = """
    def run(request):
        depth = given(request).as_numpy()[0]
        code = json.loads(request.parameters())["code"]
        call = ask("lab_of_two", [tensor([depth + 1])], parameters={"code": code}).exec()
        if call.has_error():
            assert "would wait for itself" in call.error().message() or (
                "in a circle" in call.error().message()
            ), call.error().message()
            return [depth]
        return out(call)
    """
    for _ in range(20):
        assert run(code, 1, model="lab_of_two").tolist() == [2]


def test_a_thread_that_calls_when_execute_is_over(run: Run) -> None:
    code = """
    def run(request):
        def call():
            for _ in range(50):
                KEPT["answer"] = out(ask("add", [tensor([5])]).exec()).as_numpy()[0]
            KEPT["done"] = True

        KEPT["thread"] = threading.Thread(target=call)
        KEPT["thread"].start()
        return [0]
    """
    run(code)
    after = """
    def run(request):
        KEPT["thread"].join(20)
        return [KEPT["answer"], KEPT["done"]]
    """
    assert run(after).tolist() == [6, 1]


def test_a_parent_that_is_cancelled_may_still_call(run: Run, server: Pyserver) -> None:
    assert server.ports is not None
    code = """
    def run(request):
        count = 0
        while not request.is_cancelled():
            out(ask("add", [tensor([5])]).exec())
            count += 1
        KEPT["after"] = [out(ask("add", [given(request)]).exec()).as_numpy()[0] for _ in range(9)]
        return [0]
    """
    with grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as caller:
        given = grpc.InferInput("X", [1], "FP32")
        given.set_data_from_numpy(np.array([6], np.float32))
        with pytest.raises(InferenceServerException):
            parameters = {"code": textwrap.dedent(code)}
            caller.infer("lab", [given], parameters=parameters, client_timeout=0.5)
    assert run('def run(request):\n return KEPT["after"]').tolist() == [7.0] * 9
