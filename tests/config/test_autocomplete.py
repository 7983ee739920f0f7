"""What a framework's signature, or a Python model, may add to a configuration."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyserver.config.autocomplete import ModelSignature, TensorSignature, is_complete
from pyserver.config.json_view import config_dict
from pyserver.config.load import complete, finish
from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.errors import InternalError, InvalidArgumentError

FLOAT_IN: dict[str, Any] = {"name": "I", "data_type": "TYPE_FP32", "dims": [1]}


def _signature(inputs: list[list[int]], outputs: list[list[int]]) -> ModelSignature:
    return ModelSignature(
        tuple(TensorSignature(f"I{i}", "FP32", tuple(dims)) for i, dims in enumerate(inputs)),
        tuple(TensorSignature(f"O{i}", "INT64", tuple(dims)) for i, dims in enumerate(outputs)),
    )


def _config(**said: Any) -> ModelConfig:
    return ModelConfig(name="m", backend="onnxruntime", platform="onnxruntime_onnx", **said)


# (max_batch_size as written, dims of the inputs, of the outputs; then as completed: max_batch_size,
#  whether dynamic batching is on, dims of inputs, of outputs)
ONNX = [
    (0, [[-1, 4]], [[-1, 2]], 4, True, [[4]], [[2]]),
    (7, [[-1, 4]], [[-1, 2]], 7, True, [[4]], [[2]]),
    (1, [[-1, 4]], [[-1, 2]], 1, False, [[4]], [[2]]),
    (0, [[-1, -1, 3]], [[-1, -1]], 4, True, [[-1, 3]], [[-1]]),
    (0, [[2, 4]], [[2]], 0, False, [[2, 4]], [[2]]),
    (0, [[-1, 4]], [[2]], 0, False, [[-1, 4]], [[2]]),
    (0, [[-1, 4], [3]], [[-1]], 0, False, [[-1, 4], [3]], [[-1]]),
    (0, [[-1]], [[-1, 2]], 4, True, [[1]], [[2]]),
    (0, [[]], [[-1, 2]], 0, False, [[1]], [[-1, 2]]),
    (0, [[-1, 4]], [[]], 0, False, [[-1, 4]], [[1]]),
    (0, [[-1, 5]], [[-1]], 4, True, [[5]], [[1]]),
]


@pytest.mark.parametrize(("size", "inputs", "outputs", "made", "dynamic", "ins", "outs"), ONNX)
def test_an_onnx_signature_completes_an_empty_configuration(
    size: int,
    inputs: list[list[int]],
    outputs: list[list[int]],
    made: int,
    dynamic: bool,
    ins: list[list[int]],
    outs: list[list[int]],
) -> None:
    config = finish(
        complete(_config(max_batch_size=size), _signature(inputs, outputs)), gpu_count=0
    )
    assert config.max_batch_size == made
    assert config.HasField("dynamic_batching") == dynamic
    assert [list(tensor.dims) for tensor in config.input] == ins
    assert [list(tensor.dims) for tensor in config.output] == outs
    assert [tensor.name for tensor in config.input] == [f"I{i}" for i in range(len(ins))]
    for given, tensor in zip([*inputs, *outputs], [*config.input, *config.output], strict=True):
        assert tensor.HasField("reshape") == (given == [-1] and made > 0)
        assert not tensor.reshape.shape
    if dynamic:
        assert list(config.dynamic_batching.preferred_batch_size) == [made]


def test_a_configuration_that_says_all_is_left_alone() -> None:
    config = _config(
        input=[{"name": "X", "data_type": 11, "dims": [4]}],
        output=[{"name": "Y", "data_type": 11, "dims": [4]}],
    )
    assert is_complete(config)
    assert complete(config, _signature([[-1, 4]], [[-1, 4]])) == config
    assert complete(config, None) == config


def test_a_section_that_is_given_is_kept() -> None:
    config = _config(input=[{"name": "X", "data_type": 11, "dims": [4]}])
    made = complete(config, _signature([[-1, 4]], [[-1, 4]]))
    assert [tensor.name for tensor in (*made.input, *made.output)] == ["X", "O0"]


def test_a_scheduler_that_is_given_is_kept() -> None:
    config = _config(max_batch_size=8, sequence_batching={})
    made = complete(config, _signature([[-1, 4]], [[-1, 4]]))
    assert made.WhichOneof("scheduling_choice") == "sequence_batching"


def test_batching_of_a_model_that_cannot_is_refused() -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        complete(_config(max_batch_size=2), _signature([[1, 4]], [[-1, 4]]))
    assert str(raised.value) == (
        "autofill failed for model 'm': model does not support batching while non-zero"
        " max_batch_size is specified"
    )


@pytest.mark.parametrize(("default", "size"), [(0, 0), (1, 1), (16, 16)])
def test_the_default_batch_size_can_be_set(default: int, size: int) -> None:
    signature = _signature([[-1, 4]], [[-1, 4]])
    made = complete(_config(), signature, default_max_batch_size=default)
    assert made.max_batch_size == size
    assert made.HasField("dynamic_batching") == (size > 1)


def test_a_datatype_without_a_name_on_the_wire_is_refused() -> None:
    signature = ModelSignature((TensorSignature("I", "COMPLEX64", (1,)),), ())
    with pytest.raises(InvalidArgumentError, match="tensor 'I' has datatype 'COMPLEX64'"):
        complete(_config(), signature)


def test_a_signature_crosses_processes_as_json() -> None:
    signature = _signature([[-1, 4], []], [[2]])
    assert ModelSignature.from_json(json.loads(json.dumps(signature.to_json()))) == signature


# Answers of a Python model that are refused: (configuration, answer, error, what it says)
REFUSED: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({}, {"input": [FLOAT_IN | {"dim": 3}]}, InvalidArgumentError, "Did you mean 'dims'"),
    ({}, {"input": FLOAT_IN}, InvalidArgumentError, "model 'm'"),
    ({}, {"input": [FLOAT_IN | {"dims": ["x"]}]}, InvalidArgumentError, "model 'm'"),
    ({}, {"max_batch_size": "many"}, InvalidArgumentError, "max_batch_size"),
    ({}, {"max_batch_size": -1}, InvalidArgumentError, "non-negative"),
    ({}, {"input": [FLOAT_IN, FLOAT_IN]}, InvalidArgumentError, "more than once"),
    ({}, {"dynamic_batching": {}, "sequence_batching": {}}, InternalError, "one scheduler"),
    ({}, {"dynamic_batching": {"preferred": 3}}, InvalidArgumentError, "preferred"),
    (
        {"max_batch_size": 4, "dynamic_batching": {"preferred_batch_size": [4]}},
        {"max_batch_size": 2},
        InvalidArgumentError,
        "dynamic batching preferred size must be <= max batch size",
    ),
]


@pytest.mark.parametrize(("said", "answer", "kind", "text"), REFUSED)
def test_a_python_models_answer_is_checked(
    said: dict[str, Any], answer: dict[str, Any], kind: type[Exception], text: str
) -> None:
    config = ModelConfig(name="m", backend="python", **said)
    with pytest.raises(kind) as raised:
        finish(complete(config, config_dict(config) | answer), gpu_count=0)
    assert text in str(raised.value)


def test_a_python_models_answer_replaces_inputs_and_outputs() -> None:
    config = ModelConfig(name="m", backend="python", input=[{"name": "old"}])
    made = complete(config, {"input": [FLOAT_IN], "output": [], "max_batch_size": 3})
    assert ([tensor.name for tensor in made.input], made.max_batch_size) == (["I"], 3)
    assert config.input[0].name == "old"
