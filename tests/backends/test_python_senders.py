"""The Python backend: responses through senders, from threads and from coroutines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.backends.python_models import floats, model
from tests.instance.serving import served
from tests.waiting import wait_until

DECOUPLED = "model_transaction_policy { decoupled: true }\n"


@pytest.mark.parametrize("count", [0, 1, 3000])
def test_decoupled_models_answer_any_number_of_times(tmp_path: Path, count: int) -> None:
    execute = """
def execute(self, requests):
    for request in requests:
        sender = request.get_response_sender()
        for index in range(int(get(request).as_numpy()[0])):
            sender.send(answer(np.array([index], np.float32)))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
    with served(model(tmp_path / "m", execute, config=DECOUPLED), region_bytes=8 << 20) as one:
        responses = one.client.wait(one.submit(floats(count)))
        assert [response.outputs["OUT"].item() for response in responses] == list(range(count))


def test_decoupled_from_another_thread_with_an_error_in_the_middle(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    for request in requests:
        threading.Thread(target=self.work, args=(request.get_response_sender(),)).start()
def work(self, sender):
    sender.send(answer(np.zeros(1, np.float32)))
    sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError("half way")))
    sender.send(answer(np.ones(1, np.float32)), flags=1)
    try:
        sender.send(answer(np.ones(1, np.float32)))
    except pb_utils.TritonModelException as error:
        assert str(error) == "Unable to send response. Response sender has been closed."
"""
    with served(model(tmp_path / "m", execute, config=DECOUPLED)) as one:
        responses = one.client.wait(one.submit(floats(1)))
        assert [response.failed for response in responses] == [False, True, False]
        assert responses[1].message == "half way"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("return [1]", "using the decoupled mode and the execute function must return None."),
        ("raise OSError('x')", "OSError: x"),
        ("return None", "the model dropped the request without answering it"),
    ],
)
def test_decoupled_requests_are_never_left_open(tmp_path: Path, body: str, text: str) -> None:
    execute = f"def execute(self, requests):\n    {body}"
    with served(model(tmp_path / "m", execute, config=DECOUPLED)) as one:
        (response,) = one.client.wait(one.submit(floats(1)))
        assert text in response.message


def test_senders_of_models_that_are_not_decoupled(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    sender = requests[0].get_response_sender()
    told = []
    for given, flags in [(None, 0), (None, 2), (None, 1), (answer(np.zeros(1, np.float32)), 0),
                         (answer(np.zeros(1, np.float32)), 0), (None, 1), (None, 1)]:
        try:
            sender.send(given, flags)
            told.append("")
        except pb_utils.TritonModelException as error:
            told.append(str(error).removeprefix("Unable to send response. "))
    with open(pb_utils.get_model_dir() + "/told.json", "w") as file:
        json.dump(told, file)
    return None
"""
    path = model(tmp_path / "m", execute)
    with served(path) as one:
        assert one.infer(floats(1)).outputs["OUT"].tolist() == [0]
        told = path / "1" / "told.json"
        wait_until(lambda: told.exists() and told.read_text().endswith("]"), what="the model")
        assert json.loads(told.read_text()) == [
            "Inference Response object must be provided when the response flags is set to zero.",
            "Unsupported flag provided.",
            "Non-decoupled model cannot send complete final before sending a response.",
            "",
            "Non-decoupled model cannot send more than one response.",
            "",
            "Response sender has been closed.",
        ]


@pytest.mark.parametrize("decoupled", [False, True])
def test_execute_may_be_a_coroutine(tmp_path: Path, decoupled: bool) -> None:
    finish = (
        "requests[0].get_response_sender().send(made, 1); return None"
        if decoupled
        else "return [made]"
    )
    execute = f"""
async def execute(self, requests):
    import asyncio
    await asyncio.sleep(0.001)
    value = get(requests[0]).as_numpy()[0]
    if value < 0:
        raise ValueError("negative")
    made = answer(np.array([value + 1], np.float32))
    {finish}
"""
    config = DECOUPLED if decoupled else ""
    with served(model(tmp_path / "m", execute, config=config)) as one:
        assert one.infer(floats(1)).outputs["OUT"].tolist() == [2]
        assert "ValueError: negative" in one.infer(floats(-1)).message
