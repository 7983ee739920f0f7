"""What frontends are told of a model: the catalog entry and the spec of each version.

The reader is csrc/model/catalog.cc.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pyserver.datatype import wire_name
from pyserver.repository.identity import name_of
from pyserver.repository.lifecycle import ModelVersion, State

if TYPE_CHECKING:
    from pyserver.config.model_config_pb2 import (
        ModelConfig,
        ModelDynamicBatching,
        ModelInput,
        ModelOutput,
        ModelQueuePolicy,
        ModelSequenceBatching,
    )
    from pyserver.repository.registry import Registry

_CORRELATION_ID = "CONTROL_SEQUENCE_CORRID"
# With these, users of Triton make batches form that do not depend on the clock.
_DELAY_HOOKS: Final = {
    "delay_scheduler": "TRITONSERVER_DELAY_SCHEDULER",
    "backlog_delay_scheduler": "TRITONSERVER_BACKLOG_DELAY_SCHEDULER",
}


def catalog_entry(name: str, registry: Registry, *, loadable: bool = False) -> dict[str, Any]:
    """The message that replaces what is known of what clients call so. `loadable`: if no version
    is READY, requests may wait while core loads it.
    """
    named = registry.namesakes(name)
    if len(named) > 1:
        return {"op": "model", "name": name, "namesakes": len(named), "versions": []}
    versions = _versions(named[0] if named else "", registry)
    return {"op": "model", "name": name, "loadable": loadable, "versions": versions}


def engine_entry(model: str, registry: Registry) -> dict[str, Any]:
    """The same for the engine, which finds the models of ensembles' steps by their identities."""
    versions = _versions(model, registry)
    return {"op": "model", "name": model, "shown": name_of(model), "versions": versions}


def _versions(model: str, registry: Registry) -> list[dict[str, Any]]:
    every = registry.versions(model).values()
    return [_version_entry(version) for version in every if version.version > 0]


def _version_entry(version: ModelVersion) -> dict[str, Any]:
    serving = version.loaded if version.state is State.READY else None
    return {
        "version": version.version,
        "handle": serving.handle if serving else 0,
        "state": version.state.value,
        "spec": serving.spec if serving else None,
    }


def model_spec(
    config: ModelConfig, model_dir: Path, cache_seed: int | None = None
) -> dict[str, Any]:
    """What is needed to check requests and shape answers; reads the label files. With a cache in
    this server, `cache_seed` is what frontends begin its keys with.

    Raises InternalError when a label file cannot be read, InvalidArgumentError when it lies outside
    the model's folder.
    """
    return {
        "max_batch_size": config.max_batch_size,
        "decoupled": config.model_transaction_policy.decoupled,
        "inputs": [_input_spec(one) for one in config.input],
        "outputs": [_output_spec(config, one, model_dir) for one in config.output],
        "sequence": _sequence_spec(config),
        "cache_seed": cache_seed if config.response_cache.enable else None,
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


def engine_settings(
    config: ModelConfig, version: int, environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """What `Engine.add_model` needs: the policy and its limits."""
    settings: dict[str, Any] = {
        "name": config.name,
        "version": version,
        "policy": "direct",
        "max_batch_size": config.max_batch_size,
        "decoupled": config.model_transaction_policy.decoupled,
        "cache": config.response_cache.enable,
    }
    choice = config.WhichOneof("scheduling_choice")
    if choice == "dynamic_batching":
        settings |= _dynamic_settings(config.dynamic_batching)
    elif choice == "sequence_batching":
        settings |= _sequence_settings(config.sequence_batching)
    for key, variable in _DELAY_HOOKS.items():
        if environment.get(variable, "").isdigit():
            settings[key] = int(environment[variable])
    return settings


def ensemble_plan(config: ModelConfig, model: str, models: Mapping[str, str]) -> dict[str, Any]:
    """What the engine needs of an ensemble: its tensors, and its steps with tensors by index.
    `model` is its identity, `models` those of its steps by the names in the config.
    """
    steps = config.ensemble_scheduling.step
    names = [tensor.name for tensor in config.input]
    for step in steps:
        names += [*step.input_map.values(), *step.output_map.values()]
    tensors = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return {
        "name": model,
        "tensors": list(tensors),
        "max_inflight_requests": config.ensemble_scheduling.max_inflight_requests,
        "steps": [
            {
                "model": models[step.model_name],
                "version": step.model_version,
                "inputs": {name: tensors[tensor] for name, tensor in step.input_map.items()},
                "outputs": {name: tensors[tensor] for name, tensor in step.output_map.items()},
            }
            for step in steps
        ],
    }


def _dynamic_settings(batching: ModelDynamicBatching) -> dict[str, Any]:
    return {
        "policy": "dynamic",
        "preferred_batch_sizes": list(batching.preferred_batch_size),
        "max_queue_delay_us": batching.max_queue_delay_microseconds,
        "preserve_ordering": batching.preserve_ordering,
        "priority_levels": batching.priority_levels,
        "default_priority_level": batching.default_priority_level,
        "default_queue": _queue_policy(batching.default_queue_policy),
        "level_queues": {
            level: _queue_policy(policy) for level, policy in batching.priority_queue_policy.items()
        },
    }


def _queue_policy(policy: ModelQueuePolicy) -> dict[str, Any]:
    return {
        "delay": policy.timeout_action == policy.DELAY,
        "default_timeout_us": policy.default_timeout_microseconds,
        "allow_timeout_override": policy.allow_timeout_override,
        "max_queue_size": policy.max_queue_size,
    }


def _sequence_settings(batching: ModelSequenceBatching) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "max_sequence_idle_us": batching.max_sequence_idle_microseconds,
        "iterative": batching.iterative_sequence,
    }
    if batching.HasField("oldest"):
        oldest = batching.oldest
        return settings | {
            "policy": "sequence_oldest",
            "max_candidate_sequences": max(0, oldest.max_candidate_sequences),
            "preferred_batch_sizes": list(oldest.preferred_batch_size),
            "max_queue_delay_us": oldest.max_queue_delay_microseconds,
            "preserve_ordering": oldest.preserve_ordering,
        }
    return settings | {
        "policy": "sequence_direct",
        "max_queue_delay_us": batching.direct.max_queue_delay_microseconds,
        "minimum_slot_utilization": batching.direct.minimum_slot_utilization,
    }
