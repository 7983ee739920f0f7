"""Calls and the lives of models: circles, deaths, loads, and nothing that leaks."""

from __future__ import annotations

import pytest
import tritonclient.http as client
from tritonclient.utils import InferenceServerException

from tests.bls.conftest import Run
from tests.e2e.test_ensembles import engine_counters
from tests.waiting import wait_until


def test_a_circle_is_refused_and_named(run: Run) -> None:
    inner = 'def run(request):\n return out(ask("lab", [given(request)]).exec())'
    code = f"""
    def run(request):
        return out(ask("other_lab", [given(request)], parameters={{"code": {inner!r}}}).exec())
    """
    with pytest.raises(InferenceServerException) as caught:
        run(code, 1)
    assert "would wait for itself: other_lab -> lab -> other_lab" in caught.value.message()
    with pytest.raises(InferenceServerException) as caught:
        run('def run(request):\n return out(ask("lab", [given(request)]).exec())', 1)
    assert "model 'lab' calls model 'lab' in a circle" in caught.value.message()
    with pytest.raises(InferenceServerException) as caught:
        run('def run(request):\n return out(ask("round", [given(request)]).exec())', 1)
    assert "would wait for itself: lab -> round -> lab" in caught.value.message()


def test_a_model_that_dies_while_it_is_called(run: Run) -> None:
    code = """
    def run(request):
        response = ask("die", [given(request)]).exec()
        assert response.error().code() == pb_utils.TritonError.UNAVAILABLE
        assert "exited with code 3" in response.error().message(), response.error().message()
        return out(ask("add", [given(request)]).exec())
    """
    assert run(code, 1).tolist() == [2]


def test_a_model_that_dies_while_it_calls(run: Run, address: str) -> None:
    code = """
    def run(request):
        answers = ask("count", [tensor([1e6])]).exec(decoupled=True)
        next(answers)
        os._exit(4)
    """
    with pytest.raises(InferenceServerException, match="exited with code 4"):
        run(code, 1, model="other_lab")
    wait_until(lambda: engine_counters(address)["live_requests"] == 0, what="a cancelled call")
    wait_until(lambda: engine_counters(address)["live_leases"] == 0, what="returned memory")


def test_a_model_that_is_loaded_anew_is_met_again(
    run: Run, triton: client.InferenceServerClient
) -> None:
    code = 'def run(request):\n return out(ask("add", [given(request)]).exec())'
    for _ in range(2):
        assert run(code, 1).tolist() == [2]
        triton.load_model("add")
    triton.unload_model("add")
    wait_until(lambda: not triton.is_model_ready("add"), what="an unloaded model")
    with pytest.raises(InferenceServerException, match="Model 'add' is not ready"):
        run(code, 1)
    triton.load_model("add")
    assert run(code, 1).tolist() == [2]
    for name in ("pair", "reflect", "round"):
        triton.load_model(name)


def test_two_thousand_calls_leak_nothing(run: Run, address: str) -> None:
    code = """
    def run(request):
        out(ask("add", [tensor(np.zeros(1000))]).exec())
        before = books()
        for n in range(1000):
            out(ask("add", [tensor(np.zeros(1000))]).exec())

        async def several(count):
            calls = [ask("add", [given(request)]).async_exec() for _ in range(count)]
            return [out(one) for one in await asyncio.gather(*calls)]

        for _ in range(10):
            asyncio.run(several(95))
        for n in range(50):
            ask("count", [tensor([3])]).exec(decoupled=True)  # nobody takes the answers
        list(ask("count", [tensor([1])]).exec(decoupled=True))
        request.is_cancelled()  # takes in what core has said
        after = books()
        assert after["calls"] == before["calls"], (before, after)
        return [after[one] - before[one] for one in ("used_bytes", "live_blocks")]
    """
    assert run(code).tolist() == [0, 0]
    counters = engine_counters(address)
    wait_until(lambda: engine_counters(address)["live_leases"] == 0, what="returned memory")
    counters = engine_counters(address)
    assert counters["live_requests"] == 0 and counters["violations"] == 0
