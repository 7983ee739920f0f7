"""Rules about instance groups, which need to know the machine's GPUs; checked after
normalisation."""

from __future__ import annotations

from collections.abc import Iterator

from pyserver.config.autofill import ENSEMBLE_PLATFORM
from pyserver.config.model_config_pb2 import ModelConfig, ModelInstanceGroup
from pyserver.config.validate_tensors import TENSORRT_PLATFORM
from pyserver.errors import InvalidArgumentError


def check_instance_groups(config: ModelConfig, *, gpu_count: int) -> None:
    """Raises InvalidArgumentError for the first group that cannot be."""
    for message in instance_groups_are_possible(config, gpu_count=gpu_count):
        raise InvalidArgumentError(message)


def instance_groups_are_possible(config: ModelConfig, *, gpu_count: int) -> Iterator[str]:
    """The rule itself, for a machine with so many GPUs."""
    if config.platform == ENSEMBLE_PLATFORM:
        return
    if not config.instance_group:
        yield f"must specify one or more 'instance group's for {config.name}"
    for group in config.instance_group:
        for message in (*_devices(group, gpu_count), *_profiles(group, config)):
            yield f"instance group {group.name} of model {config.name} {message}"


def _devices(group: ModelInstanceGroup, gpu_count: int) -> Iterator[str]:
    kind = ModelInstanceGroup.Kind.Name(group.kind)
    if group.kind == ModelInstanceGroup.KIND_AUTO:
        yield "has unexpected kind KIND_AUTO"
    elif group.kind != ModelInstanceGroup.KIND_GPU:
        if group.gpus:
            yield f"has kind {kind} but specifies one or more GPUs"
    elif not group.gpus:
        yield f"has kind {kind} but " + (
            "specifies no GPUs" if gpu_count else "no GPUs are available"
        )
    for gpu in group.gpus:
        if not 0 <= gpu < gpu_count:
            # Triton asks for a compute capability; we take every GPU that the driver shows, and
            # keep its words.
            known = ", ".join(str(index) for index in range(gpu_count))
            yield (
                f"specifies invalid or unsupported gpu id {gpu}. GPUs with at least the minimum"
                f" required CUDA compute compatibility of 6.000000 are: {known}"
            )


def _profiles(group: ModelInstanceGroup, config: ModelConfig) -> Iterator[str]:
    if group.profile and config.platform != TENSORRT_PLATFORM:
        # Triton forgets the blank behind the platform's name.
        yield (
            f"and platform {config.platform}specifies profile field which is only supported for"
            " TensorRT models"
        )
    for profile in group.profile:
        if not (profile.isascii() and profile.isdigit()):
            yield (
                f"and platform {config.platform} specifies invalid profile {profile}. The field"
                " should contain the string representation of a non-negative integer."
            )
