"""The native identity backend in a real instance process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyserver.errors import InvalidArgumentError
from tests.instance.serving import LoadFailed, served, tensors, write_model

CONFIG = 'backend: "identity"\nmax_batch_size: 8\n'


def test_the_answer_is_the_requests_own_memory(tmp_path: Path) -> None:
    config = CONFIG + tensors("input", [("INPUT0", "FP32", [-1])])
    config += tensors("output", [("OUTPUT0", "FP32", [-1])])
    with served(write_model(tmp_path / "same", config)) as model:
        given = np.arange(16, dtype=np.float32).reshape(1, 16)
        call = model.submit({"INPUT0": given}, parameters={"a": 1, "b": "two", "c": True})
        (response,) = model.client.wait(call)
        np.testing.assert_array_equal(response.outputs["OUTPUT0"], given)
        assert response.places["OUTPUT0"] == (model.client.peer, call.input_offsets["INPUT0"])
        assert response.parameters == {"a": 1, "b": "two", "c": True}


def test_only_requested_outputs_come(tmp_path: Path) -> None:
    names = ["0", "1"]
    config = CONFIG + tensors("input", [(f"INPUT{n}", "STRING", [-1]) for n in names])
    config += tensors("output", [(f"OUTPUT{n}", "STRING", [-1]) for n in names])
    given = np.array([[b"x", b"", b"\xff\x00"]], dtype=object)
    with served(write_model(tmp_path / "two", config), instances=2) as model:
        response = model.infer({"INPUT0": given, "INPUT1": given}, ["OUTPUT1"])
        assert list(response.outputs) == ["OUTPUT1"]
        assert response.outputs["OUTPUT1"].tolist() == given.tolist()
        for _ in range(200):
            assert not model.infer({"INPUT0": given, "INPUT1": given}).failed


def test_an_output_without_its_input_is_refused(tmp_path: Path) -> None:
    config = CONFIG + tensors("input", [("INPUT0", "FP32", [-1])])
    config += tensors("output", [("OUTPUT1", "FP32", [-1])])
    with (
        pytest.raises(LoadFailed, match="'OUTPUT1' has no such input") as failure,
        served(write_model(tmp_path / "wrong", config)),
    ):
        pass
    assert failure.value.code == InvalidArgumentError.code
