"""Ragged batches with ONNX Runtime: `allow_ragged_batch`, `batch_input` and `batch_output`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.test_onnxruntime import FLOAT, onnx_model
from tests.instance.serving import served

onnx = pytest.importorskip("onnx")
INT32 = 6

CONFIG = """
backend: "onnxruntime" max_batch_size: 16
input [ { name: "X" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]
output [ { name: "DOUBLE" data_type: TYPE_FP32 dims: [ -1 ] },
         { name: "END" data_type: TYPE_FP32 dims: [ 1 ] },
         { name: "SHAPE" data_type: TYPE_FP32 dims: [ 1 ] } ]
batch_input [ { kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "ENDS" data_type: TYPE_FP32
                source_input: "X" },
              { kind: BATCH_ITEM_SHAPE target_name: "SHAPES" data_type: TYPE_INT32
                source_input: "X" } ]
batch_output [ { target_name: "DOUBLE" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "X" } ]
dynamic_batching { preferred_batch_size: [ 16 ] max_queue_delay_microseconds: 200000 }
"""


def model(folder: Path) -> Path:
    node = onnx.helper.make_node
    nodes = [
        node("Add", ["X", "X"], ["DOUBLE"]),
        node("Unsqueeze", ["ENDS", "axis"], ["END"]),
        node("Cast", ["SHAPES"], ["SHAPE"], to=FLOAT),
    ]
    nodes.insert(0, node("Constant", [], ["axis"], value_ints=[1]))
    return onnx_model(
        folder,
        nodes,
        {"X": (FLOAT, ["all"]), "ENDS": (FLOAT, ["n"]), "SHAPES": (INT32, ["n", 1])},
        {"DOUBLE": (FLOAT, ["all"]), "END": (FLOAT, ["n", 1]), "SHAPE": (FLOAT, ["n", 1])},
        CONFIG,
    )


def test_requests_of_unequal_shape_share_a_batch(tmp_path: Path) -> None:
    with served(model(tmp_path / "m")) as one:
        calls: list[tuple[np.ndarray, Any]] = []
        for count in (3, 1, 5, 7):
            given = np.arange(count, dtype=np.float32)[None]
            calls.append((given, one.submit({"X": given}, signature=1)))
        end = 0
        for given, call in calls:
            (response,) = one.client.wait(call)
            end += given.size
            np.testing.assert_array_equal(response.outputs["DOUBLE"], given * 2)
            assert response.outputs["END"].tolist() == [[end]]
            assert response.outputs["SHAPE"].tolist() == [[given.size]]
        assert one.engine.statistics(7)["execution_count"] == 1


def test_an_output_that_does_not_add_up_is_refused(tmp_path: Path) -> None:
    path = model(tmp_path / "m")
    text = CONFIG.replace('target_name: "DOUBLE"', 'target_name: [ "DOUBLE", "END" ]')
    (path / "config.pbtxt").write_text(text)
    with served(path) as one:
        response = one.infer({"X": np.zeros((1, 3), np.float32)})
        assert response.failed
        assert "but the shapes of input 'X' make 12" in response.message
