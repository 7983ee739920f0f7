"""The rules that a model configuration must keep, as one literal table; the first one broken is the
error.

A rule is a function of the configuration that yields a message for each way in which it is broken.
The messages are Triton's (core/src/model_config_utils.cc), word for word where clients can see
them, its missing blanks and quotes included. Rules of one subject live in one file beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pyserver.config import validate_ensemble, validate_scheduling, validate_tensors
from pyserver.config.autofill import ENSEMBLE_PLATFORM, PLATFORMS
from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.errors import InvalidArgumentError

Rule = Callable[[ModelConfig], Iterator[str]]


def name_is_given(config: ModelConfig) -> Iterator[str]:
    if not config.name:
        yield "model configuration must specify 'name'"


def backend_is_known(config: ModelConfig) -> Iterator[str]:
    if config.backend or config.platform == ENSEMBLE_PLATFORM:
        return
    if config.platform:
        yield f"unexpected platform type '{config.platform}' for {config.name}"
    else:
        yield f"must specify 'platform' or 'backend' for '{config.name}'"


def ensemble_has_no_backend(config: ModelConfig) -> Iterator[str]:
    if config.platform == ENSEMBLE_PLATFORM and config.backend:
        yield (
            f"Ensemble model '{config.name}' must have platform type '{ENSEMBLE_PLATFORM}'"
            " and empty backend type"
        )


def platform_fits_backend(config: ModelConfig) -> Iterator[str]:
    if config.backend in PLATFORMS and config.platform not in PLATFORMS[config.backend]:
        yield (f"unexpected 'platform' and 'backend' pair, got:{config.platform}, {config.backend}")


def max_batch_size_is_not_negative(config: ModelConfig) -> Iterator[str]:
    if config.max_batch_size < 0:
        yield f"'max_batch_size' must be non-negative value for {config.name}"


def version_policy_is_set(config: ModelConfig) -> Iterator[str]:
    if not config.HasField("version_policy"):
        yield f"must specify 'version policy' for {config.name}"


def decoupled_has_no_cache(config: ModelConfig) -> Iterator[str]:
    if config.model_transaction_policy.decoupled and config.response_cache.enable:
        yield (
            f"Response Cache does not currently support model {config.name} with 'decoupled'"
            " transaction policy. Please disable the response cache."
        )


def metric_controls_are_complete(config: ModelConfig) -> Iterator[str]:
    for control in config.model_metrics.metric_control:
        if not control.HasField("metric_identifier"):
            yield f"metric control must specify 'metric_identifier' for {config.name}"
            continue
        family = control.metric_identifier.family
        if not family:
            yield f"metric identifier must specify 'family' for {config.name}"
        elif not control.HasField("histogram_options"):
            yield f"metric control '{family}' must specify 'histogram_options' for {config.name}"
        elif not control.histogram_options.buckets:
            yield (
                f"metric control '{family}' must specify 'buckets' in 'histogram_options' for"
                f" {config.name}"
            )


# What can be said before the model's own signature is known.
EARLY_RULES: tuple[Rule, ...] = (
    name_is_given,
    ensemble_has_no_backend,
    backend_is_known,
    platform_fits_backend,
    max_batch_size_is_not_negative,
    version_policy_is_set,
    validate_scheduling.preferred_sizes_of_dynamic_batching_fit,
    validate_scheduling.priorities_are_in_range,
    validate_scheduling.ordering_is_possible,
    validate_scheduling.sequences_have_no_cache,
    validate_scheduling.boolean_controls_are_complete,
    validate_scheduling.correlation_control_is_complete,
    validate_scheduling.preferred_sizes_of_oldest_fit,
    validate_scheduling.slot_utilization_is_a_fraction,
    validate_ensemble.scheduling_belongs_to_ensembles,
    validate_ensemble.ensemble_leaves_out_what_steps_decide,
    validate_ensemble.steps_are_complete,
    validate_ensemble.tensors_are_connected,
    decoupled_has_no_cache,
    metric_controls_are_complete,
)

# What needs inputs and outputs, which auto-complete may have filled in.
LATE_RULES: tuple[Rule, ...] = (
    validate_tensors.inputs_are_sound,
    validate_tensors.outputs_are_sound,
    validate_tensors.names_are_unique,
    validate_tensors.batch_inputs_are_sound,
    validate_tensors.batch_outputs_are_sound,
)

RULES: tuple[Rule, ...] = EARLY_RULES + LATE_RULES


def check(config: ModelConfig, rules: tuple[Rule, ...] = RULES) -> None:
    """Raises InvalidArgumentError with the message of the first broken rule."""
    for rule in rules:
        for message in rule(config):
            raise InvalidArgumentError(message)
