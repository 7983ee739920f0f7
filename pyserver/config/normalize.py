"""Writes into a configuration what it leaves to defaults; doing it twice changes nothing."""

from __future__ import annotations

from pyserver.config.autofill import ENSEMBLE_PLATFORM
from pyserver.config.model_config_pb2 import ModelConfig, ModelInstanceGroup

DEFAULT_SEQUENCE_IDLE_US = 1_000_000

# Backends whose instances run on the CPU wherever the configuration does not say otherwise.
CPU_BACKENDS = frozenset({"openvino"})

# Backends that get two instances of a KIND_CPU group without a count.
TWO_ON_CPU_BACKENDS = frozenset({"onnxruntime", "tensorflow"})


def normalize(config: ModelConfig, *, gpu_count: int) -> None:
    """Fills defaults in place: version policy, scheduler, pinned memory, instance groups (spec of
    Triton's config)."""
    if not config.HasField("version_policy"):
        config.version_policy.latest.num_versions = 1
    _normalize_scheduler(config)
    if config.platform != ENSEMBLE_PLATFORM:
        for pinned in ("input_pinned_memory", "output_pinned_memory"):
            if not config.optimization.HasField(pinned):
                getattr(config.optimization, pinned).enable = True
        _normalize_instance_groups(config, gpu_count)


def _normalize_scheduler(config: ModelConfig) -> None:
    size = config.max_batch_size
    if config.HasField("dynamic_batching"):
        if not config.dynamic_batching.preferred_batch_size and size > 0:
            config.dynamic_batching.preferred_batch_size.append(size)
    elif config.HasField("sequence_batching"):
        batching = config.sequence_batching
        if batching.max_sequence_idle_microseconds == 0:
            batching.max_sequence_idle_microseconds = DEFAULT_SEQUENCE_IDLE_US
        oldest = batching.oldest if batching.HasField("oldest") else None
        if oldest is not None and not oldest.preferred_batch_size and size > 0:
            oldest.preferred_batch_size.append(size)


def _normalize_instance_groups(config: ModelConfig, gpu_count: int) -> None:
    if not config.instance_group:
        group = config.instance_group.add(name=config.name)
        if config.backend in CPU_BACKENDS:
            group.kind = ModelInstanceGroup.KIND_CPU
    for index, group in enumerate(config.instance_group):
        if not group.name:
            group.name = f"{config.name}_{index}"
        if group.kind == ModelInstanceGroup.KIND_AUTO:
            group.kind = _kind_of_auto(group, gpu_count)
        if group.kind == ModelInstanceGroup.KIND_GPU and not group.gpus:
            group.gpus.extend(range(gpu_count))
        if group.count < 1:
            on_cpu = group.kind == ModelInstanceGroup.KIND_CPU
            group.count = 2 if on_cpu and config.backend in TWO_ON_CPU_BACKENDS else 1


def _kind_of_auto(group: ModelInstanceGroup, gpu_count: int) -> ModelInstanceGroup.Kind:
    """GPU if the server has one and has every one that the group lists."""
    if gpu_count > 0 and all(0 <= gpu < gpu_count for gpu in group.gpus):
        return ModelInstanceGroup.KIND_GPU
    return ModelInstanceGroup.KIND_CPU


def host_policy_of(group: ModelInstanceGroup, device_id: int) -> str:
    """The host policy that an instance runs under: the group's own, or the usual one of its
    kind."""
    if group.host_policy:
        return group.host_policy
    return {
        ModelInstanceGroup.KIND_GPU: f"gpu_{device_id}",
        ModelInstanceGroup.KIND_MODEL: "model",
    }.get(group.kind, "cpu")
