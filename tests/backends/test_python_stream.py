"""`stream`, ours alone: a generator whose yields are the responses of one request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.backends.python_models import floats, model
from tests.backends.test_python_senders import DECOUPLED
from tests.instance.client import Client
from tests.instance.serving import HANDLE, LoadFailed, Served, served
from tests.waiting import wait_until

BOTH = pytest.mark.parametrize("kind", ["def", "async def"])
BATCHED = "max_batch_size: 8\ndynamic_batching { max_queue_delay_microseconds: 500000 }\n"


def values(one: Served, *given: float) -> list[float]:
    responses = one.client.wait(one.submit(floats(*given)))
    assert [response.message for response in responses if response.failed] == []
    return [response.outputs["OUT"].item() for response in responses if response.outputs]


@BOTH
@pytest.mark.parametrize("count", [0, 1, 3000])
def test_each_yield_is_a_response(tmp_path: Path, kind: str, count: int) -> None:
    execute = f"""
{kind} stream(self, request):
    for index in range(int(get(request).as_numpy()[0])):
        yield answer(np.array([index], np.float32)) if index % 2 else {{"OUT": np.float32([index])}}
"""
    path = model(tmp_path / "m", execute, config=DECOUPLED)
    with served(path, region_bytes=8 << 20) as one:
        assert values(one, count) == list(range(count))
        assert values(one, 2) == [0, 1]  # and the next one finds everything as it was
        one.nothing_is_held()


@BOTH
def test_an_exception_is_the_last_response(tmp_path: Path, kind: str) -> None:
    execute = f"""
{kind} stream(self, request):
    view = get(request).as_numpy()
    yield answer(view + 1)
    raise ValueError("half way")
"""
    with served(model(tmp_path / "m", execute, config=DECOUPLED)) as one:
        first, last = one.client.wait(one.submit(floats(1)))
        assert first.outputs["OUT"].tolist() == [2]
        assert last.failed and last.code == 1
        assert "for model 'm_0', message: ValueError: half way\n\nAt:\n" in last.message
        assert "model.py(" in last.message and "): stream" in last.message
        one.nothing_is_held()


@BOTH
def test_errors_may_be_yielded_in_the_middle(tmp_path: Path, kind: str) -> None:
    execute = f"""
{kind} stream(self, request):
    yield answer(np.zeros(1, np.float32))
    yield pb_utils.InferenceResponse(error=pb_utils.TritonError("not this one"))
    yield answer(np.ones(1, np.float32))
"""
    with served(model(tmp_path / "m", execute, config=DECOUPLED)) as one:
        responses = one.client.wait(one.submit(floats(1)))
        assert [response.message for response in responses[:3]] == ["", "not this one", ""]


WAITS = {
    # One is at its yield when it is told, the other waits for something.
    "def": "for index in range(10**9):\n            yield answer(np.zeros(1, np.float32))",
    "async def": "yield answer(np.zeros(1, np.float32))\n"
    "        import asyncio; await asyncio.sleep(3600)",
}


@BOTH
def test_cancellation_closes_the_generator(tmp_path: Path, kind: str) -> None:
    execute = f"""
{kind} stream(self, request):
    view = get(request).as_numpy()
    try:
        {WAITS[kind]}
    except BaseException as error:
        open(pb_utils.get_model_dir() + "/closed", "w").write(type(error).__name__)
        raise
"""
    path = model(tmp_path / "m", execute, config=DECOUPLED)
    with served(path) as one:
        call = one.submit(floats(1))
        wait_until(lambda: one.client.poll() and call.responses, what="the first response")
        one.client.cancel(call)
        assert one.client.wait(call)[-1].code == 7
        closed = path / "1" / "closed"
        wait_until(lambda: closed.exists() and closed.read_text(), what="the end")
        assert closed.read_text() in ("GeneratorExit", "CancelledError")
        one.nothing_is_held()


def test_requests_of_a_batch_take_turns(tmp_path: Path) -> None:
    execute = """
def stream(self, request):
    first, count = get(request).as_numpy()[0]
    for index in range(int(count)):
        self.order = [*getattr(self, "order", []), first]
        yield {"OUT": np.array([self.order], np.float32)}
"""
    with served(model(tmp_path / "m", execute, config=BATCHED + DECOUPLED)) as one:
        calls = [
            one.client.submit(HANDLE, {"IN": np.array([[name, count]], np.float32)})
            for name, count in ((1, 3), (2, 1), (3, 2))
        ]
        last = [one.client.wait(call)[-1] for call in calls]
        assert last[0].outputs["OUT"].tolist() == [[1, 2, 3, 1, 3, 1]]


def test_a_client_that_reads_nothing_holds_up_only_itself(tmp_path: Path) -> None:
    execute = """
def stream(self, request):
    for index in range(int(get(request).as_numpy()[0][0])):
        yield {"OUT": np.zeros((1, 20_000), np.float32)}
"""
    with served(
        model(tmp_path / "m", execute, config=BATCHED + DECOUPLED), region_bytes=4 << 20
    ) as one:
        slow = one.client.submit(HANDLE, {"IN": np.array([[200]], np.float32)})
        other = second_client(one)
        quick = other.submit(HANDLE, {"IN": np.array([[100]], np.float32)})
        # `slow` is not read meanwhile: with this client we only look after the other.
        assert len([one for one in other.wait(quick) if one.outputs]) == 100
        assert len([one for one in one.client.wait(slow) if one.outputs]) == 200
        other.close()


def test_many_coroutines_stream_at_once_and_no_more_than_that(tmp_path: Path) -> None:
    execute = """
async def stream(self, request):
    import asyncio
    self.live = getattr(self, "live", 0) + 1
    self.most = max(getattr(self, "most", 0), self.live)
    try:
        while self.live < 64 and self.most < 64:
            await asyncio.sleep(0.001)
        yield {"OUT": np.array([self.most], np.float32)}
    finally:
        self.live -= 1
"""
    with served(model(tmp_path / "m", execute, config=DECOUPLED)) as one:
        calls = [one.submit(floats(1)) for _ in range(100)]
        told = [one.client.wait(call)[0].outputs["OUT"].item() for call in calls]
        assert max(told) == 64


@BOTH
def test_a_model_that_is_not_decoupled_yields_once(tmp_path: Path, kind: str) -> None:
    execute = f"""
{kind} stream(self, request):
    for index in range(int(get(request).as_numpy()[0])):
        yield answer(np.array([index + 7], np.float32))
"""
    with served(model(tmp_path / "m", execute)) as one:
        assert one.infer(floats(1)).outputs["OUT"].tolist() == [7]
        assert "it yields one" in one.infer(floats(0)).message
        assert "needs model_transaction_policy { decoupled: true }" in one.infer(floats(2)).message
        assert one.infer(floats(1)).outputs["OUT"].tolist() == [7]
        one.nothing_is_held()


@pytest.mark.parametrize("config", ["", DECOUPLED])
@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("return [1]", "stream must be a generator, or an async def with yield: it returned"),
        ("yield 3", "it yielded <class 'int'>"),
        ("yield {'': np.zeros(1)}", "empty"),
        ("raise KeyError('x')", "KeyError: 'x'"),
    ],
)
def test_what_a_stream_may_not_do(tmp_path: Path, config: str, body: str, text: str) -> None:
    execute = f"def stream(self, request):\n    {body}"
    with served(model(tmp_path / "m", execute, config=config)) as one:
        (response,) = one.client.wait(one.submit(floats(1)))
        assert response.failed and text in response.message
        one.nothing_is_held()


def test_memory_goes_while_it_streams(tmp_path: Path) -> None:
    """100 MB of responses through a region of 4 MB."""
    execute = """
def stream(self, request):
    for index in range(1000):
        yield {"OUT": np.full(25_000, index, np.float32)}
"""
    with served(model(tmp_path / "m", execute, config=DECOUPLED), region_bytes=4 << 20) as one:
        responses = [r for r in one.client.wait(one.submit(floats(1))) if r.outputs]
        assert [response.outputs["OUT"][0] for response in responses] == list(range(1000))
        one.nothing_is_held()


def test_execute_goes_before_stream_as_in_triton(tmp_path: Path) -> None:
    execute = """
def stream(self, request):
    raise AssertionError("a method of the model's own")
def execute(self, requests):
    return [answer(get(request).as_numpy()) for request in requests]
"""
    with served(model(tmp_path / "m", execute)) as one:
        assert one.infer(floats(5)).outputs["OUT"].tolist() == [5]


def test_a_class_with_neither_is_refused_as_before(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="'execute'"), served(model(tmp_path / "m", "x = 1")):
        pass


def second_client(one: Served) -> Client:
    other = Client(one.engine)
    other.know_region(one.peers[0], one.region_fds[0])
    one.introduce(other.peer, other.region_fd)
    return other
