"""Rules about dynamic and sequence batching; validate.py has the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pyserver.config.model_config_pb2 import (
    DataType,
    ModelConfig,
    ModelQueuePolicy,
    ModelSequenceBatching,
)

_Control = ModelSequenceBatching.Control

BOOLEAN_KINDS = (
    _Control.CONTROL_SEQUENCE_START,
    _Control.CONTROL_SEQUENCE_END,
    _Control.CONTROL_SEQUENCE_READY,
)
CORRELATION_KIND = _Control.CONTROL_SEQUENCE_CORRID
CORRELATION_TYPES = (
    DataType.TYPE_UINT64,
    DataType.TYPE_INT64,
    DataType.TYPE_UINT32,
    DataType.TYPE_INT32,
    DataType.TYPE_STRING,
)
_PAIRS = ("int32_false_true", "fp32_false_true", "bool_false_true")


def _sizes_fit(sizes: Iterable[int], config: ModelConfig, what: str) -> Iterator[str]:
    for size in sizes:
        if size <= 0:
            yield f"{what} must be positive for {config.name}"
        elif size > config.max_batch_size:
            yield f"{what} must be <= max batch size for {config.name}"


def preferred_sizes_of_dynamic_batching_fit(config: ModelConfig) -> Iterator[str]:
    sizes = config.dynamic_batching.preferred_batch_size
    yield from _sizes_fit(sizes, config, "dynamic batching preferred size")


def priorities_are_in_range(config: ModelConfig) -> Iterator[str]:
    batching = config.dynamic_batching
    levels = batching.priority_levels
    if levels == 0:
        return
    if not 1 <= batching.default_priority_level <= levels:
        yield f"default priority level must be in range [1, {levels}] for {config.name}"
    for level in batching.priority_queue_policy:
        if not 1 <= level <= levels:
            yield (
                "priority queue policy must have priority level in range"
                f" [1, {levels}] for {config.name}"
            )


def ordering_is_possible(config: ModelConfig) -> Iterator[str]:
    batching = config.dynamic_batching
    if not batching.preserve_ordering:
        return
    if batching.priority_levels > 1:
        yield (
            f"Only one priority level is allowed when 'preserve_ordering' is true for {config.name}"
        )
    for policy in (batching.default_queue_policy, *batching.priority_queue_policy.values()):
        delays = policy.timeout_action == ModelQueuePolicy.DELAY
        if delays and policy.default_timeout_microseconds != 0:
            yield (
                "Queue policy can not have DELAY as timeout action when 'preserve_ordering' is"
                f" true for {config.name}"
            )


def sequences_have_no_cache(config: ModelConfig) -> Iterator[str]:
    if config.HasField("sequence_batching") and config.response_cache.enable:
        yield (
            f"Response Cache does not currently support model {config.name} with sequence"
            " batching scheduler. Please disable the response cache."
        )


def _controls_of(config: ModelConfig, kind: _Control.Kind) -> Iterator[_Control | str]:
    """The controls of one kind, or the message that says why they cannot be told."""
    seen_tensors: set[str] = set()
    found = False
    for tensor in config.sequence_batching.control_input:
        if not tensor.name:
            yield f"sequence batching control tensor must have a name for {config.name}"
            return
        if tensor.name in seen_tensors:
            yield (
                f"sequence batching control tensor '{tensor.name}' is specified for multiple"
                f" control kinds for {config.name}"
            )
            return
        seen_tensors.add(tensor.name)
        for control in tensor.control:
            if control.kind != kind:
                continue
            if found:
                yield (
                    f"sequence batching specifies multiple {_Control.Kind.Name(kind)} tensors"
                    f" for {config.name}"
                )
                return
            found = True
            yield control


def boolean_controls_are_complete(config: ModelConfig) -> Iterator[str]:
    for kind in BOOLEAN_KINDS:
        where = f"{_Control.Kind.Name(kind)} for {config.name}"
        for control in _controls_of(config, kind):
            if isinstance(control, str):
                yield control
                continue
            given = [name for name in _PAIRS if getattr(control, name)]
            if not given:
                yield (
                    "sequence batching must specify either 'int32_false_true', 'fp32_false_true'"
                    f" or 'bool_false_true' for {where}"
                )
            elif len(given) > 1:
                yield (
                    "sequence batching specifies more than one from 'int32_false_true',"
                    f" 'fp32_false_true' and 'bool_false_true' for {where}"
                )
            elif len(getattr(control, given[0])) != 2:
                yield (
                    f"sequence batching control '{given[0]}' must have exactly 2 entries for"
                    f" {where}"
                )


def correlation_control_is_complete(config: ModelConfig) -> Iterator[str]:
    where = f"{_Control.Kind.Name(CORRELATION_KIND)} for {config.name}"
    for control in _controls_of(config, CORRELATION_KIND):
        if isinstance(control, str):
            yield control
        elif control.data_type not in CORRELATION_TYPES:
            yield (
                f"unexpected data type for control {where}. Allowed data types are TYPE_UINT64,"
                " TYPE_INT64, TYPE_UINT32, TYPE_INT32 and TYPE_STRING"
            )
        elif any(getattr(control, name) for name in _PAIRS):
            yield (
                "sequence batching must not specify either 'int32_false_true',"
                f" 'fp32_false_true' or 'bool_false_true' for {where}"
            )


def preferred_sizes_of_oldest_fit(config: ModelConfig) -> Iterator[str]:
    sizes = config.sequence_batching.oldest.preferred_batch_size
    yield from _sizes_fit(sizes, config, "sequence batching preferred batch size")


def slot_utilization_is_a_fraction(config: ModelConfig) -> Iterator[str]:
    if not 0.0 <= config.sequence_batching.direct.minimum_slot_utilization <= 1.0:
        yield (
            "sequence batching minimum slot utilization must be in range (0.0, 1.0] for"
            f" {config.name}"
        )
