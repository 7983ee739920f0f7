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
    assert np.dtype(utils.triton_string_to_numpy(text)).type is kind
    assert utils.numpy_to_triton_type(kind) == number


def test_bytes_types_are_strings_and_bf16_is_unknown_to_numpy() -> None:
    assert utils.numpy_to_triton_type(np.bytes_) == 13
    assert utils.triton_to_numpy_type(14) is None
    assert utils.numpy_to_triton_type(np.complex64) is None
    assert utils.numpy_to_triton_type(np.dtype("float32")) == 11
    assert utils.TRITON_STRING_TO_NUMPY["TYPE_BOOL"] is bool
    with pytest.raises(KeyError):
        utils.triton_string_to_numpy("TYPE_BF16")


@pytest.mark.parametrize("elements", [[b"a", b"", b"\0\xff"], ["tex", "té"], [b"same", b"size"]])
def test_bytes_tensors_there_and_back(elements: list[Any]) -> None:
    encoded = utils.serialize_byte_tensor(np.array(elements, dtype=object))
    assert encoded is not None
    wanted = [one if isinstance(one, bytes) else one.encode() for one in elements]
    assert isinstance(encoded, bytes)
    assert utils.deserialize_bytes_tensor(encoded).tolist() == wanted


def test_what_cannot_be_serialized() -> None:
    assert utils.serialize_byte_tensor(np.array([], dtype=object)) == ()
    assert utils.serialize_byte_tensor(np.zeros(2, np.float32)) is None


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
            "unable to load model 'm', configuration expects datatype TYPE_FP32 for input 'IN',"
            " model provides TYPE_FP16",
        ),
        (
            lambda c: c.add_input({"name": "IN", "data_type": "TYPE_FP32", "dims": [3]}),
            "model 'm', tensor 'IN': the model expects dims .3. but the model configuration"
            " specifies dims .2.",
        ),
        (
            lambda c: c.set_model_transaction_policy({"coupled": 1}),
            "^model transaction property in auto-complete-config function for model 'm' contains"
            " property other than 'decoupled'.$",
        ),
    ],
)
def test_what_auto_complete_may_not_change(
    change: Callable[[ModelConfig], None], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        completed(change)


def test_auto_complete_keeps_a_given_scheduler() -> None:
    text = (
        "^Configuration specified scheduling_choice as 'sequence_batching', but"
        " auto-complete-config function for model 'm' tries to set scheduling_choice as"
        " 'dynamic_batching'$"
    )
    with pytest.raises(ValueError, match=text):
        completed(ModelConfig.set_dynamic_batching, sequence_batching={})


@pytest.mark.parametrize(("given", "wanted"), [(True, False), (False, True)])
def test_auto_complete_keeps_a_given_transaction_policy(given: bool, wanted: bool) -> None:
    policy = {"decoupled": given}
    text = (
        "^trying to change decoupled property in auto-complete-config for model 'm', which is"
        f" already set to '{given}'.$"
    )
    with pytest.raises(ValueError, match=text):
        completed(
            lambda config: config.set_model_transaction_policy({"decoupled": wanted}),
            model_transaction_policy=policy,
        )
    same = completed(
        lambda config: config.set_model_transaction_policy({"decoupled": given}),
        model_transaction_policy=dict(policy),
    )
    assert same["model_transaction_policy"] == policy


def test_auto_complete_fills_what_the_config_leaves_open() -> None:
    given = [{"name": "IN", "data_type": "TYPE_INVALID", "dims": [], "optional": False}]
    tensor = {"name": "IN", "data_type": "TYPE_INT8", "dims": [3], "optional": False}
    config = completed(lambda config: config.add_input(tensor), input=given)
    assert config["input"] == [tensor]
    text = "tensor 'IN': the model expects optional True but the model configuration specifies"
    with pytest.raises(ValueError, match=text):
        completed(lambda config: config.add_input(tensor | {"optional": True}), input=given)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (
            {"a": 1.5},
            "Expect parameters values to have type bool/int/str, found type <class 'float'>",
        ),
        ({"a": None}, "values to have type bool/int/str, found type <class 'NoneType'>"),
        ({1: "a"}, "Expect parameters keys to have type str, found type <class 'int'>"),
        ([("a", 1)], "InferenceResponse parameters must be a dict, found type <class 'list'>"),
    ],
)
def test_parameters_of_the_wrong_type(parameters: Any, text: str) -> None:
    with pytest.raises(utils.TritonModelException, match=text):
        utils.InferenceResponse([], parameters=parameters)


def test_responses_and_errors_of_the_wrong_type() -> None:
    with pytest.raises(utils.TritonModelException, match="should not be empty"):
        utils.InferenceResponse([None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="error must be a TritonError"):
        utils.InferenceResponse(error="no")  # type: ignore[arg-type]
    codes = ["UNKNOWN", "INTERNAL", "NOT_FOUND", "INVALID_ARG", "UNAVAILABLE", "UNSUPPORTED"]
    codes += ["ALREADY_EXISTS", "CANCELLED"]
    assert [getattr(utils.TritonError, name) for name in codes] == list(range(8))


def test_tensor_rules() -> None:
    for make in (
        utils.Tensor,
        utils.Tensor.from_dlpack,
        lambda n, a: utils.Tensor.empty(n, "f4", [1]),
    ):
        with pytest.raises(
            utils.TritonModelException, match=r"^Tensor name cannot be an empty str"
        ):
            make("", np.zeros(1, np.float32))
    with pytest.raises(utils.TritonModelException, match="Tensor must be a DLPack capsule"):
        utils.Tensor.from_dlpack("T", [1, 2])
    with pytest.raises(utils.TritonModelException, match="no datatype for numpy's complex64"):
        utils.Tensor("T", np.zeros(1, np.complex64))
    sparse = np.arange(8, dtype=np.int16)[::2]
    tensor = utils.Tensor("T", sparse)
    assert tensor.as_numpy().flags.c_contiguous and tensor.as_numpy().tolist() == [0, 2, 4, 6]
    assert tensor.is_cpu()


def test_empty_tensors_without_a_server() -> None:
    tensor = utils.Tensor.empty("T", np.int32, [2, 3])
    tensor.as_numpy()[:] = 7
    assert tensor.as_numpy().tolist() == [[7] * 3] * 2 and tensor.triton_dtype() == 8
    for kind in (object, np.complex64, ">i4"):
        with pytest.raises(utils.TritonModelException, match="there is no empty tensor of numpy's"):
            utils.Tensor.empty("T", kind, [1])
    for shape in ([-1], [1 << 62, 1 << 62]):
        with pytest.raises(utils.TritonModelException, match="its shape has no size"):
            utils.Tensor.empty("T", np.int64, shape)


def test_traces_have_no_context() -> None:
    assert utils.InferenceTrace().get_context() is None


def test_log_levels(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(1, "pyserver.model"):
        for level in utils.LogLevel:
            utils.Logger.log("told", level)
        utils.Logger.log("at information")
    levels = [record.levelname for record in caplog.records]
    assert levels == ["INFO", "WARNING", "ERROR", "DEBUG", "INFO"]
    assert {record.filename for record in caplog.records} == {"test_python_utils.py"}
    assert utils.Logger.LogLevel.VERBOSE is utils.Logger.VERBOSE
    with pytest.raises(TypeError, match="must be a LogLevel"):
        utils.Logger.log("told", 20)  # type: ignore[arg-type]


def test_there_is_nobody_to_load_models_without_a_server() -> None:
    nobody = "Cannot communicate with parent service"
    with pytest.raises(utils.TritonModelException, match=f"^Failed to load model: {nobody}$"):
        utils.load_model("m")
    with pytest.raises(utils.TritonModelException, match=f"^Failed to unload model: {nobody}$"):
        utils.unload_model("m")
    text = f"^Failed to check model readiness: {nobody}$"
    with pytest.raises(utils.TritonModelException, match=text):
        utils.is_model_ready("m")
    with pytest.raises(utils.TritonModelException, match="files should be a dictionary of file"):
        utils.load_model("m", files=[])  # type: ignore[arg-type]
