"""Rules about inputs, outputs and the tensors that the server makes for a batch; validate.py has
the table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

from pyserver.config.model_config_pb2 import (
    BatchInput,
    BatchOutput,
    DataType,
    ModelConfig,
    ModelInput,
    ModelOutput,
)

TENSORRT_PLATFORM = "tensorrt_plan"
WILDCARD = -1


class _Named(Protocol):
    """Whatever carries a tensor's name."""

    @property
    def name(self) -> str: ...


def inputs_are_sound(config: ModelConfig) -> Iterator[str]:
    for tensor in config.input:
        for message in _tensor(tensor, config, "model input"):
            yield f"{message} for {config.name}"
        formatted = tensor.format in (ModelInput.FORMAT_NHWC, ModelInput.FORMAT_NCHW)
        if formatted and len(tensor.dims) != 3:
            yield f"model input NHWC/NCHW require 3 dims for {config.name}"
        for message in _tensorrt_only(tensor, config):
            yield f"{message} for {config.name}"


def outputs_are_sound(config: ModelConfig) -> Iterator[str]:
    for tensor in config.output:
        for message in _tensor(tensor, config, "model output"):
            yield f"{message} for {config.name}"
        for message in _tensorrt_only(tensor, config):
            yield f"{message} for {config.name}"


def names_are_unique(config: ModelConfig) -> Iterator[str]:
    """Triton takes the last of two tensors of one name without a word; nobody can mean that, so it
    is an error here."""
    sections: tuple[tuple[str, Sequence[_Named]], ...] = (
        ("input", config.input),
        ("output", config.output),
    )
    for what, tensors in sections:
        names = [tensor.name for tensor in tensors]
        for name in names:
            if names.count(name) > 1:
                yield f"model {what} '{name}' is specified more than once for {config.name}"


def _tensor(tensor: ModelInput | ModelOutput, config: ModelConfig, what: str) -> Iterator[str]:
    if not tensor.name:
        yield f"{what} must specify 'name'"
    if tensor.data_type == DataType.TYPE_INVALID:
        yield f"{what} '{tensor.name}' must specify 'data_type'"
    if not tensor.dims:
        yield f"{what} '{tensor.name}' must specify 'dims'"
    if any(dim < 1 and dim != WILDCARD for dim in tensor.dims):
        yield (
            f"{what} '{tensor.name}' dimension must be integer >= 1, or {WILDCARD} to indicate"
            " a variable-size dimension"
        )
    if tensor.HasField("reshape"):
        for message in _reshape(tensor.dims, tensor.reshape.shape, config):
            yield f"{what} '{tensor.name}' {message}"


def _reshape(dims: Sequence[int], shape: Sequence[int], config: ModelConfig) -> Iterator[str]:
    if any(dim < 1 and dim != WILDCARD for dim in shape):
        yield (
            f"reshape dimensions must be integer >= 1, or {WILDCARD} to indicate a"
            " variable-size dimension"
        )
    if not shape and config.max_batch_size == 0:
        yield (
            "cannot have empty reshape for non-batching model as scalar tensors are not supported"
        )
    variable = WILDCARD in dims
    if variable != (WILDCARD in shape) or (not variable and math.prod(dims) != math.prod(shape)):
        yield "has different size for dims and reshape"
    elif variable:
        before, after = _products_between_wildcards(dims), _products_between_wildcards(shape)
        if len(before) != len(after):
            yield "has different number of variable-size dimensions for dims and reshape"
        elif before != after:
            yield "has different size for dims and reshape"


def _products_between_wildcards(dims: Sequence[int]) -> list[int]:
    """[2, 3, -1, 4] → [6, 4]: what stands before, between and behind the variable dimensions."""
    products = [1]
    for dim in dims:
        if dim == WILDCARD:
            products.append(1)
        else:
            products[-1] *= dim
    return products


def _tensorrt_only(tensor: ModelInput | ModelOutput, config: ModelConfig) -> Iterator[str]:
    if tensor.is_shape_tensor and config.platform != TENSORRT_PLATFORM:
        yield "shape tensors are only supported for TensorRT platform"
    if tensor.is_non_linear_format_io:
        if config.platform != TENSORRT_PLATFORM:
            yield "Non-linear IO format is only supported for the TensorRT platform"
        if len(tensor.dims) != 3:
            yield "Non-linear IO format requires 3 dims"


def batch_inputs_are_sound(config: ModelConfig) -> Iterator[str]:
    inputs = {tensor.name for tensor in config.input}
    for batch_input in config.batch_input:
        kind = batch_input.kind
        if kind not in BatchInput.Kind.values():
            yield f"unknown batch input kind '{kind}' for {config.name}"
            continue
        if len(batch_input.source_input) != 1:
            yield (
                f"batch input kind '{BatchInput.Kind.Name(kind)}' expects 1 source input, got"
                f" {len(batch_input.source_input)} for {config.name}"
            )
        if batch_input.data_type not in (DataType.TYPE_INT32, DataType.TYPE_FP32):
            yield f"batch input data type must be TYPE_INT32 or TYPE_FP32 for {config.name}"
        for source in batch_input.source_input:
            if source not in inputs:
                yield f"unknown source input name '{source}' for {config.name}"


def batch_outputs_are_sound(config: ModelConfig) -> Iterator[str]:
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    targets: set[str] = set()
    for batch_output in config.batch_output:
        kind = batch_output.kind
        if kind not in BatchOutput.Kind.values():
            yield f"unknown batch output kind '{kind}' for {config.name}"
            continue
        if len(batch_output.source_input) != 1:
            yield (
                f"batch output kind '{BatchOutput.Kind.Name(kind)}' expects 1 source input, got"
                f" {len(batch_output.source_input)} for {config.name}"
            )
        for source in batch_output.source_input:
            if source not in inputs:
                yield f"unknown source input name '{source}' for {config.name}"
        for target in batch_output.target_name:
            if target not in outputs:
                yield f"unknown target output name '{target}' for {config.name}"
            if target in targets:
                yield f"target output name '{target}' can only be specified once for {config.name}"
            targets.add(target)
