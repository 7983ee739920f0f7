"""The Python backend: what a TritonPythonModel is given, and what becomes of what it returns."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.backends.python_models import IMPORTS, floats, model
from tests.instance.client import Client
from tests.instance.serving import HANDLE, Served, served, tensors, write_model
from tests.waiting import wait_until


def test_inputs_are_views_and_results_come_back(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    out = []
    for request in requests:
        array = get(request).as_numpy()
        assert not array.flags.writeable and not array.flags.owndata
        assert array.ctypes.data == get(request).as_numpy().ctypes.data
        out.append(answer(array * 2))
    return out
"""
    with served(model(tmp_path / "m", execute)) as one:
        response = one.infer(floats(1, 2))
        assert response.outputs["OUT"].tolist() == [2, 4]
        assert response.places["OUT"][0] == one.peers[0]


@pytest.mark.parametrize("piece", ["array", "array[1:3]", "get(request)"])
def test_what_lies_in_the_request_is_answered_by_reference(tmp_path: Path, piece: str) -> None:
    execute = f"""
def execute(self, requests):
    out = []
    for request in requests:
        array = get(request).as_numpy()
        piece = {piece}
        if isinstance(piece, pb_utils.Tensor):
            piece = piece.as_numpy()
        out.append(answer(piece))
    return out
"""
    with served(model(tmp_path / "m", execute)) as one:
        (response,) = one.client.wait(one.submit(floats(1, 2, 3)))
        assert response.places["OUT"][0] == one.client.peer


def test_a_view_that_the_model_keeps_delays_the_release_only(tmp_path: Path) -> None:
    execute = """
def initialize(self, args):
    self.kept = None
def execute(self, requests):
    last, self.kept = self.kept, get(requests[0]).as_numpy()
    return [answer(self.kept if last is None else last)]
"""
    with served(model(tmp_path / "m", execute)) as one:
        first = one.submit(floats(1))
        assert one.client.wait(first, released=False)[0].outputs["OUT"].tolist() == [1]
        assert not first.released
        second = one.submit(floats(2))
        # The first request's memory, copied, since it is not the second's to refer to.
        response = one.client.wait(second, released=False)[0]
        assert response.outputs["OUT"].tolist() == [1]
        assert response.places["OUT"][0] == one.peers[0]
        one.client.wait(first)
        assert first.released and not second.released
        one.stop()
        one.engine.retire_peer(one.peers[0], "the model is gone")


def test_a_tensor_is_of_no_use_after_its_request(tmp_path: Path) -> None:
    execute = """
kept = []
def execute(self, requests):
    if self.kept:
        try:
            self.kept[0].as_numpy()
        except pb_utils.TritonModelException as error:
            return [pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))]
    self.kept.append(get(requests[0]))
    return [answer(get(requests[0]).as_numpy())]
"""
    with served(model(tmp_path / "m", execute)) as one:
        assert not one.infer(floats(1)).failed
        assert "has been answered and released" in one.infer(floats(1)).message


def test_dynamic_batches_arrive_as_a_list(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    return [answer(np.full((1, 1), len(requests), np.float32)) for _ in requests]
"""
    config = (
        "max_batch_size: 4\n"
        "dynamic_batching { max_queue_delay_microseconds: 200000 preferred_batch_size: [4] }\n"
    )
    with served(model(tmp_path / "m", execute, config=config)) as one:
        calls = [one.submit({"IN": np.zeros((1, 1), np.float32)}) for _ in range(8)]
        sizes = [one.client.wait(call)[0].outputs["OUT"].item() for call in calls]
        assert sizes == [4] * 8


def test_what_a_request_tells_of_itself(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    request = requests[0]
    told = {
        "id": request.request_id(), "correlation": request.correlation_id(),
        "flags": request.flags(), "timeout": request.timeout(),
        "parameters": json.loads(request.parameters()),
        "outputs": request.requested_output_names(), "cancelled": request.is_cancelled(),
        "inputs": [(t.name(), list(t.shape()), t.triton_dtype(), t.is_cpu())
                   for t in request.inputs()],
        "none": pb_utils.get_input_tensor_by_name(request, "OTHER") is None,
        "dir": pb_utils.get_model_dir(),
    }
    made = np.array([json.dumps(told)], dtype=object)
    return [answer(made, parameters={"n": 1, "s": "x", "b": True})]
"""
    given = np.array([b"x"], dtype=object)
    path = model(tmp_path / "m", execute, kind="STRING")
    with served(path) as one:
        response = one.infer(
            {"IN": given}, request_id="abc", parameters={"k": 2, "f": 0.5}, timeout_us=1000
        )
        assert json.loads(response.outputs["OUT"][0]) == {
            "id": "abc",
            "correlation": 0,
            "flags": 0,
            "timeout": 1000,
            "parameters": {"k": 2, "f": 0.5},
            "outputs": ["OUT"],
            "cancelled": False,
            "inputs": [["IN", [1], 13, True]],
            "none": True,
            "dir": str(path / "1"),
        }
        assert response.parameters == {"n": 1, "s": "x", "b": True}


def test_bytes_come_as_objects_and_go_as_bytes_or_text(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    out = []
    for request in requests:
        array = get(request).as_numpy()
        assert array.dtype == object and all(type(one) is bytes for one in array.ravel())
        out.append(answer(np.array([*array.ravel()[::-1], "té", 7, np.bytes_(b"z")], dtype=object)))
    return out
"""
    with served(model(tmp_path / "m", execute, kind="STRING")) as one:
        given = np.array([b"a", b"", b"\x00\xff" * 1000], dtype=object)
        result = one.infer({"IN": given}).outputs["OUT"].tolist()
        assert result == [*given[::-1], "té".encode(), b"7", b"z"]
        assert one.infer({"IN": np.array([], dtype=object)}).outputs["OUT"].size == 3
        for shape, data in [((3,), b"\1\0\0\0a"), ((1,), b"\5\0\0\0a"), ((0,), b"\1\0\0\0a")]:
            bad = one.infer({"IN": ("BYTES", shape, data)})
            assert "BYTES tensor 'IN'" in bad.message, bad


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint64", "float16", "float64"])
def test_every_size_of_number_survives(tmp_path: Path, dtype: str) -> None:
    from pyserver.datatype import DATATYPES

    row = next(row for row in DATATYPES if row.numpy_name == dtype)
    execute = """
def execute(self, requests):
    return [answer(get(request).as_numpy()[::-1]) for request in requests]
"""
    path = model(tmp_path / "m", execute, kind=row.config_name.removeprefix("TYPE_"))
    with served(path) as one:
        given = np.array([0, 1, 1], dtype)
        response = one.infer({"IN": given}, alignment=1)
        np.testing.assert_array_equal(response.outputs["OUT"], given[::-1])
        assert response.datatypes["OUT"] == row.wire_name


def test_bf16_goes_by_dlpack(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    tensor = get(requests[0])
    try:
        tensor.as_numpy()
        told = ""
    except pb_utils.TritonModelException as error:
        told = str(error)
    out = pb_utils.Tensor.from_dlpack("OUT", tensor.to_dlpack())
    return [pb_utils.InferenceResponse([out], parameters={"told": told})]
"""
    with served(model(tmp_path / "m", execute, kind="BF16")) as one:
        response = one.infer({"IN": ("BF16", (2,), b"\x80\x3f\x00\x40")})
        assert response.outputs["OUT"] == b"\x80\x3f\x00\x40"
        assert response.parameters["told"] == (
            "Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and"
            " from_dlpack() instead."
        )


FAILED = "Failed to process the request(s) for model 'm_0', message: "


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("raise ValueError('no')", r"ValueError: no\n\nAt:\n  \S+model.py\(\d+\): execute\n"),
        ("{}['x']", r"KeyError: 'x'\n\nAt:\n  .*"),
        ("return 'text'", r"Expected a list in the execute return, found type '<class 'str'>'\."),
        (
            "return []",
            r"Number of InferenceResponse objects do not match the number of InferenceRequest"
            r" objects\. InferenceRequest\(s\) size is:1, and InferenceResponse\(s\) size is:0\n",
        ),
        (
            "return [1]",
            r"Expected an 'InferenceResponse' object in the execute function return list, found"
            r" type '<class 'int'>'\.",
        ),
        ("return [None]", r"Expected an 'InferenceResponse' object .*NoneType.*"),
        ("return None", r"Expected an 'InferenceResponse' object .*NoneType.*"),
        (
            "pb_utils.Tensor('', np.zeros(1))",
            r"TritonModelException: Tensor name cannot be an empty string\.\n\nAt:\n.*",
        ),
        ("pb_utils.Tensor('OUT', np.zeros(1, complex))", r"TritonModelException: .*complex128.*"),
        (
            "answer(np.zeros(1), parameters={'a': 1.5})",
            r"TritonModelException: Expect parameters values to have type bool/int/str, found type"
            r" <class 'float'>\n.*",
        ),
        (
            "answer(np.zeros(1), parameters={1: 1})",
            r"TritonModelException: Expect parameters keys to have type str, found type"
            r" <class 'int'>\n.*",
        ),
    ],
)
def test_what_execute_may_not_do(tmp_path: Path, body: str, text: str) -> None:
    execute = f"""
def execute(self, requests):
    if get(requests[0]).as_numpy()[0] > 0:
        return [answer(get(requests[0]).as_numpy())]
    {body}
"""
    with served(model(tmp_path / "m", execute)) as one:
        response = one.infer(floats(0))
        assert response.code == 1
        assert re.fullmatch(re.escape(FAILED) + text, response.message, re.DOTALL), response.message
        assert not one.infer(floats(1)).failed


def test_one_bad_response_harms_only_itself(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    out = []
    for request in requests:
        value = int(get(request).as_numpy().flat[0])
        if value < 0:
            error = pb_utils.TritonError(f"bad {value}", -value)
            out.append(pb_utils.InferenceResponse(error=error))
        else:
            out.append(answer(np.full((1, 1), value, np.float32)))
    return out
"""
    config = (
        "max_batch_size: 8\n"
        "dynamic_batching { max_queue_delay_microseconds: 200000 preferred_batch_size: [8] }\n"
    )
    with served(model(tmp_path / "m", execute, config=config)) as one:
        values = [1, -3, 2, -5, -7, 3, 4, 5]
        calls = [one.submit({"IN": np.full((1, 1), value, np.float32)}) for value in values]
        for value, call in zip(values, calls, strict=True):
            (response,) = one.client.wait(call)
            if value < 0:
                assert (response.code, response.message) == (-value, f"bad {value}")
            else:
                assert response.outputs["OUT"].item() == value


def test_unknown_and_unwanted_outputs_are_not_sent(tmp_path: Path) -> None:
    text = 'backend: "python"\n' + tensors("input", [("IN", "FP32", [-1])])
    text += tensors("output", [("A", "FP32", [-1]), ("B", "FP32", [-1])])
    code = f"""{IMPORTS}
class TritonPythonModel:
    def execute(self, requests):
        zero = np.zeros(1, np.float32)
        made = [pb_utils.Tensor(name, zero) for name in ("B", "A", "C")]
        return [pb_utils.InferenceResponse(made) for _ in requests]
"""
    with served(write_model(tmp_path / "m", text, code)) as one:
        assert list(one.infer(floats(1)).outputs) == ["B", "A"]
        assert list(one.infer(floats(1), ["A"]).outputs) == ["A"]


def test_an_output_that_does_not_fit_says_so_and_the_next_one_fits(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    return [answer(np.zeros(int(get(requests[0]).as_numpy()[0]), np.float32))]
"""
    with served(model(tmp_path / "m", execute), region_bytes=1 << 20) as one:
        response = one.infer(floats(1 << 20))
        assert response.code == 4
        assert "shared memory of instance 'm_0' is exhausted" in response.message
        assert one.infer(floats(10)).outputs["OUT"].size == 10


def test_cancellation_is_seen_while_executing(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    import time
    end = time.monotonic() + 10
    while not requests[0].is_cancelled() and time.monotonic() < end:
        time.sleep(0.001)
    code = pb_utils.TritonError.CANCELLED if requests[0].is_cancelled() else 0
    return [pb_utils.InferenceResponse(error=pb_utils.TritonError("stopped", code))]
"""
    with served(model(tmp_path / "m", execute)) as one:
        call = one.submit(floats(1))
        wait_until(lambda: one.engine.counters()["live_batches"] == 1, what="the batch")
        one.client.cancel(call)
        one.client.wait(call)
        one.nothing_is_held()
        assert one.client.wait(call)[0].code == 7


def test_a_frontend_that_leaves_takes_nothing_with_it(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    return [answer(get(requests[0]).as_numpy() + 1)]
"""
    with served(model(tmp_path / "m", execute)) as one:
        assert not one.infer(floats(1)).failed
        other = _second_client(one)
        assert other.infer(HANDLE, floats(2)).outputs["OUT"].tolist() == [3]
        other.submit(HANDLE, floats(3))
        one.engine.retire_peer(other.peer, "gone")
        one.control.send({"op": "retire", "peer": other.peer})
        assert one.infer(floats(1)).outputs["OUT"].tolist() == [2]
        other.close()


def _second_client(one: Served) -> Client:
    other = Client(one.engine)
    other.know_region(one.peers[0], one.region_fds[0])
    one.introduce(other.peer, other.region_fd)
    return other
