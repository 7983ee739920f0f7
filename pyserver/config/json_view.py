"""Configurations as clients and models see them: the JSON of `GET .../config` and of `GET
/v2/models/<model>`.

The layout is that of Triton's answer: members in the order of the proto file with scalar members of
a oneof last, defaults printed, absent messages left out, 64-bit integers as numbers but for three
fields that stay strings.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from pyserver import datatype
from pyserver.config.model_config_pb2 import ModelConfig, ModelInput, ModelOutput

# Triton rewrites protobuf's strings to numbers field by field and has forgotten these.
_INTEGERS_AS_STRINGS = frozenset(
    {
        "inference.ModelOptimizationPolicy.Cuda.GraphSpec.Shape.dim",
        "inference.ModelSequenceBatching.InitialState.dims",
        "inference.ModelInstanceGroup.SecondaryDevice.device_id",
    }
)


def config_json(config: ModelConfig) -> str:
    """The body of `GET /v2/models/<model>/config`, and the `model_config` that a Python model's
    initialize gets."""
    return json.dumps(config_dict(config), separators=(",", ":"), ensure_ascii=False)


def config_dict(config: ModelConfig) -> dict[str, Any]:
    """The same before it is text: what `pb_utils.ModelConfig` starts from."""
    return _message(config)


def metadata_dict(config: ModelConfig, versions: Iterable[int]) -> dict[str, Any]:
    """The body of `GET /v2/models/<model>`; `versions` are the ready ones, or the one that was
    asked for."""
    return {
        "name": config.name,
        "versions": [str(version) for version in versions],
        "platform": config.platform or config.backend,
        "inputs": [_tensor(config, tensor) for tensor in config.input],
        "outputs": [_tensor(config, tensor) for tensor in config.output],
    }


def _tensor(config: ModelConfig, tensor: ModelInput | ModelOutput) -> dict[str, Any]:
    batch = [-1] if config.max_batch_size >= 1 else []
    return {
        "name": tensor.name,
        "datatype": datatype.wire_name(tensor.data_type),
        "shape": batch + list(tensor.dims),
    }


def _message(message: Message) -> dict[str, Any]:
    fields: Sequence[FieldDescriptor] = message.DESCRIPTOR.fields  # type: ignore[assignment]
    ordered = sorted(fields, key=_is_scalar_of_oneof)
    return {field.name: _field(message, field) for field in ordered if _is_printed(message, field)}


def _is_scalar_of_oneof(field: FieldDescriptor) -> bool:
    return field.containing_oneof is not None and field.message_type is None


def _is_printed(message: Message, field: FieldDescriptor) -> bool:
    if field.is_repeated or not field.has_presence:
        return True
    return message.HasField(field.name)


def _field(message: Message, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if not field.is_repeated:
        return _value(value, field)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of_value = field.message_type.fields_by_name["value"]
        return {str(key): _value(value[key], of_value) for key in sorted(value)}
    return [_value(item, field) for item in value]


def _value(value: Any, field: FieldDescriptor) -> Any:
    if field.message_type is not None:
        return _message(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return _number(_shortest_float(value))
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return _number(value)
    return str(value) if field.full_name in _INTEGERS_AS_STRINGS else value


def _shortest_float(value: float) -> float:
    """The shortest decimal that is the same 32-bit float: 0.3, not 0.30000001192092896."""
    bits = struct.pack("<f", value)
    candidates = (float(f"{value:.{digits}g}") for digits in range(6, 10))
    return next((c for c in candidates if struct.pack("<f", c) == bits), value)


def _number(value: float) -> float | int | str:
    """As protobuf prints it: whole numbers without a fraction, infinities and NaN as strings."""
    if value != value or value in (float("inf"), float("-inf")):
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
    return int(value) if value.is_integer() and abs(value) < 1e15 else value
