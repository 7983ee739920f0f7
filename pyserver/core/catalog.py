"""What frontends are told of a model: the catalog entry and the spec of each version.

The reader is csrc/model/catalog.cc.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserver.datatype import wire_name
from pyserver.repository.lifecycle import ModelVersion, State

if TYPE_CHECKING:
    from pyserver.config.model_config_pb2 import ModelConfig, ModelInput, ModelOutput

_CORRELATION_ID = "CONTROL_SEQUENCE_CORRID"


def catalog_entry(name: str, versions: Iterable[ModelVersion]) -> dict[str, Any]:
    """The message that replaces what a frontend knows of the model."""
    return {
        "op": "model",
        "name": name,
        "versions": [_version_entry(version) for version in versions if version.version > 0],
    }


def _version_entry(version: ModelVersion) -> dict[str, Any]:
    serving = version.loaded if version.state is State.READY else None
    return {
        "version": version.version,
        "handle": serving.handle if serving else 0,
        "state": version.state.value,
        "spec": serving.spec if serving else None,
    }


def model_spec(config: ModelConfig, model_dir: Path) -> dict[str, Any]:
    """What is needed to check requests and shape answers; reads the label files.

    Raises InternalError when a label file cannot be read, InvalidArgumentError when it lies outside
    the model's folder.
    """
    return {
        "max_batch_size": config.max_batch_size,
        "decoupled": config.model_transaction_policy.decoupled,
        "inputs": [_input_spec(one) for one in config.input],
        "outputs": [_output_spec(config, one, model_dir) for one in config.output],
        "sequence": _sequence_spec(config),
    }


def _input_spec(tensor: ModelInput) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": wire_name(tensor.data_type),
        "dims": list(tensor.dims),
        "reshape": list(tensor.reshape.shape) if tensor.HasField("reshape") else None,
        "optional": tensor.optional,
        "ragged": tensor.allow_ragged_batch,
        "shape_tensor": tensor.is_shape_tensor,
    }


def _output_spec(config: ModelConfig, tensor: ModelOutput, model_dir: Path) -> dict[str, Any]:
    # Here and not above: protobuf's import must not delay the start.
    from pyserver.config.labels import read_labels

    labels = read_labels(config, tensor, model_dir)
    return {
        "name": tensor.name,
        "datatype": wire_name(tensor.data_type),
        "dims": list(tensor.dims),
        "reshape": list(tensor.reshape.shape) if tensor.HasField("reshape") else None,
        "shape_tensor": tensor.is_shape_tensor,
        "labels": list(labels) if tensor.label_filename else None,
    }


def _sequence_spec(config: ModelConfig) -> dict[str, Any] | None:
    if config.WhichOneof("scheduling_choice") != "sequence_batching":
        return None
    for control_input in config.sequence_batching.control_input:
        for control in control_input.control:
            if control.Kind.Name(control.kind) == _CORRELATION_ID:
                return {"correlation_datatype": wire_name(control.data_type)}
    return {"correlation_datatype": None}


def engine_settings(config: ModelConfig, version: int) -> dict[str, Any]:
    """What `Engine.add_model` needs: the policy and its limits."""
    batching = config.dynamic_batching
    dynamic = config.WhichOneof("scheduling_choice") == "dynamic_batching"
    return {
        "name": config.name,
        "version": version,
        "policy": "dynamic" if dynamic else "direct",
        "max_batch_size": config.max_batch_size,
        "preferred_batch_sizes": list(batching.preferred_batch_size) if dynamic else [],
        "max_queue_delay_us": batching.max_queue_delay_microseconds if dynamic else 0,
        "max_queue_size": batching.default_queue_policy.max_queue_size if dynamic else 0,
    }
