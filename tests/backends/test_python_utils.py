"""triton_python_backend_utils by itself: datatypes, wire form of BYTES, configs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pyserver.backends import triton_python_backend_utils as utils
from pyserver.backends.python_model_config import ModelConfig

CONFIG = {
    "name": "m",
    "max_batch_size": 4,
    "input": [{"name": "IN", "data_type": "TYPE_FP32", "dims": [2]}],
    "output": [],
}


@pytest.mark.parametrize(
    ("number", "text", "kind"),
    [
        (1, "TYPE_BOOL", np.bool_),
        (2, "TYPE_UINT8", np.uint8),
        (5, "TYPE_UINT64", np.uint64),
        (9, "TYPE_INT64", np.int64),
        (10, "TYPE_FP16", np.float16),
        (12, "TYPE_FP64", np.float64),
        (13, "TYPE_STRING", np.object_),
    ],
)
def test_datatypes_by_every_name(number: int, text: str, kind: type) -> None:
    assert utils.triton_to_numpy_type(number) is kind
    assert utils.triton_string_to_numpy(text) is kind
    assert utils.numpy_to_triton_type(kind) == number


def test_bytes_types_are_strings_and_bf16_is_unknown_to_numpy() -> None:
    assert utils.numpy_to_triton_type(np.bytes_) == 13
    with pytest.raises(KeyError):
        utils.triton_to_numpy_type(14)


@pytest.mark.parametrize("elements", [[b"a", b"", b"\0\xff"], ["tex", "té"], [b"same", b"size"]])
def test_bytes_tensors_there_and_back(elements: list[Any]) -> None:
    encoded = utils.serialize_byte_tensor(np.array(elements, dtype=object))
    assert encoded is not None
    wanted = [one if isinstance(one, bytes) else one.encode() for one in elements]
    assert utils.deserialize_bytes_tensor(encoded.item()).tolist() == wanted


def test_broken_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="end within an element"):
        utils.deserialize_bytes_tensor(b"\5\0\0\0ab")


def test_config_lookups() -> None:
    assert utils.get_input_config_by_name(CONFIG, "IN") == CONFIG["input"][0]
    assert utils.get_output_config_by_name(CONFIG, "IN") is None
    assert not utils.using_decoupled_model_transaction_policy(CONFIG)
    policy = {"model_transaction_policy": {"decoupled": True}}
    assert utils.using_decoupled_model_transaction_policy(policy)


def test_tensors_and_responses_without_a_server() -> None:
    tensor = utils.Tensor("T", np.arange(6, dtype=np.int32).reshape(2, 3).T)
    assert (tensor.name(), tensor.shape(), tensor.triton_dtype()) == ("T", [3, 2], 8)
    assert tensor.as_numpy().tolist() == [[0, 3], [1, 4], [2, 5]]
    response = utils.InferenceResponse([tensor], parameters={"a": 1})
    assert response.output_tensors()[0] is tensor
    assert not response.has_error() and response.error() is None
    assert json.loads(response.parameters()) == {"a": 1}
    assert utils.get_output_tensor_by_name(response, "T") is tensor
    assert utils.get_output_tensor_by_name(response, "U") is None
    error = utils.InferenceResponse(error=utils.TritonError("no", utils.TritonError.NOT_FOUND))
    assert error.has_error() and error.error().message() == "no" and error.error().code() == 2
    assert utils.TritonError("x").code() == utils.TritonError.INTERNAL


def test_dlpack_there_and_back() -> None:
    given = np.arange(6, dtype=np.float64).reshape(2, 3)
    tensor = utils.Tensor.from_dlpack("T", given)
    assert tensor.as_numpy().ctypes.data == given.ctypes.data
    np.testing.assert_array_equal(np.from_dlpack(tensor), given)
    assert tensor.__dlpack_device__() == (1, 0)
    again = utils.Tensor.from_dlpack("T", tensor.to_dlpack())
    np.testing.assert_array_equal(again.as_numpy(), given)
    with pytest.raises(utils.TritonModelException, match="stored in C-Order"):
        utils.Tensor.from_dlpack("T", given.T)
    with pytest.raises(utils.TritonModelException, match="string tensors"):
        utils.Tensor("T", np.array([b"x"], dtype=object)).to_dlpack()


def completed(change: Callable[[ModelConfig], None], **more: Any) -> dict[str, Any]:
    config = ModelConfig(json.dumps(CONFIG | more))
    change(config)
    return config.as_dict()


def test_what_auto_complete_may_add() -> None:
    def change(config: ModelConfig) -> None:
        config.set_max_batch_size(8)
        config.set_dynamic_batching()
        config.set_model_transaction_policy({"decoupled": True})
        config.add_input({"name": "IN", "data_type": "TYPE_FP32", "dims": [2]})
        config.add_input({"name": "B", "data_type": "TYPE_INT8", "dims": [1], "optional": True})
        config.add_output({"name": "OUT", "data_type": "TYPE_FP32", "dims": [2]})

    config = completed(change)
    assert config["max_batch_size"] == 8 and config["dynamic_batching"] == {}
    assert config["model_transaction_policy"] == {"decoupled": True}
    assert [one["name"] for one in config["input"]] == ["IN", "B"]
    assert [one["name"] for one in config["output"]] == ["OUT"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c.set_max_batch_size(2), "configuration specified max_batch_size 4"),
        (lambda c: c.add_input({"name": "X", "dims": [1]}), "is missing 'data_type' property"),
        (lambda c: c.add_input({"data_type": "TYPE_FP32"}), "is missing 'name' property"),
        (
            lambda c: c.add_output(
                {"name": "X", "data_type": "TYPE_FP32", "dims": [1], "optional": True}
            ),
            "contains property other than 'name', 'data_type' and 'dims'",
        ),
        (
            lambda c: c.add_input({"name": "IN", "data_type": "TYPE_FP16", "dims": [2]}),
            "unable to create input 'IN'",
        ),
        (
            lambda c: c.add_input({"name": "IN", "data_type": "TYPE_FP32", "dims": [3]}),
            "unable to create input 'IN'",
        ),
        (
            lambda c: c.set_model_transaction_policy({"coupled": 1}),
            "property other than 'decoupled'",
        ),
    ],
)
def test_what_auto_complete_may_not_change(
    change: Callable[[ModelConfig], None], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        completed(change)


def test_auto_complete_keeps_a_given_scheduler() -> None:
    with pytest.raises(ValueError, match="'sequence_batching'"):
        completed(ModelConfig.set_dynamic_batching, sequence_batching={})
