"""What a sequence's state is at its start: zeros or a file, its shape, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from pyserver.errors import InvalidArgumentError
from pyserver.instance.states import state_tensors


def config(state: dict[str, Any], batch: int = 4) -> dict[str, Any]:
    given = {"input_name": "S", "output_name": "T", "data_type": "TYPE_FP32", "dims": [2]} | state
    return {
        "name": "m",
        "max_batch_size": batch,
        "sequence_batching": {"state": [given]},
    }


def initial(**fields: Any) -> dict[str, Any]:
    return {"initial_state": [{"name": "i", "data_type": "TYPE_FP32", "dims": [2]} | fields]}


def folder(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "initial_state").mkdir()
    (tmp_path / "initial_state" / "f").write_bytes(data)
    return tmp_path


def test_no_states() -> None:
    assert state_tensors({"name": "m"}, Path("nowhere")) == []


@pytest.mark.parametrize(
    ("state", "batch", "shape", "data"),
    [
        ({}, 4, [1, 2], bytes(8)),
        ({}, 0, [2], bytes(8)),
        ({"dims": [-1, 3]}, 4, [1, 1, 3], bytes(12)),
        ({"data_type": "TYPE_STRING"}, 4, [1, 2], bytes(8)),
        ({"data_type": "TYPE_FP16", "dims": [5]}, 0, [5], bytes(10)),
        ({"dims": [-1], **initial(dims=[3], zero_data=True)}, 4, [1, 3], bytes(12)),
        ({"dims": [-1], **initial(dims=[0], zero_data=True)}, 4, [1, 0], b""),
        (initial(zero_data=True), 4, [1, 2], bytes(8)),
    ],
)
def test_zeros(state: dict[str, Any], batch: int, shape: list[int], data: bytes) -> None:
    (made,) = state_tensors(config(state, batch), Path("nowhere"))
    assert (made[0], made[1], made[3], made[4]) == ("S", "T", shape, data)


def test_a_file(tmp_path: Path) -> None:
    data = struct.pack("<2f", 1, 2)
    (made,) = state_tensors(config(initial(data_file="f")), folder(tmp_path, data))
    assert made[4] == data


def test_a_file_of_strings(tmp_path: Path) -> None:
    data = b"\x02\0\0\0ab\0\0\0\0"
    fields = initial(data_type="TYPE_STRING", data_file="f") | {"data_type": "TYPE_STRING"}
    (made,) = state_tensors(config(fields), folder(tmp_path, data))
    assert made[4] == data


@pytest.mark.parametrize(
    ("state", "data", "text"),
    [
        (initial(data_file="f"), b"1234567", "are 8 bytes, the file has 7"),
        (initial(data_file="g"), b"", "failed to read"),
        (
            initial(data_file="../config.pbtxt"),
            b"",
            "leads out of the model's initial_state folder",
        ),
        (initial(data_file="/etc/passwd"), b"", "leads out of the model's initial_state folder"),
        (initial(dims=[3], zero_data=True), b"", "do not fit the state's"),
        (initial(data_type="TYPE_INT32", zero_data=True), b"", "has data_type TYPE_INT32"),
        (
            initial(data_type="TYPE_STRING", data_file="f") | {"data_type": "TYPE_STRING"},
            b"\x09\0\0\0ab",
            "should hold 2 strings",
        ),
    ],
)
def test_refused(tmp_path: Path, state: dict[str, Any], data: bytes, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=text):
        state_tensors(config(state), folder(tmp_path, data))
