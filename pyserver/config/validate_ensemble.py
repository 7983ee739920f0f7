"""Rules about an ensemble's own configuration, and how it fits the models that it is composed of.

The rules of the first kind are in validate.py's table. The second kind needs the finished
configurations of the other models and is asked for by whoever loads an ensemble:
`check_composing_models`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyserver.config.autofill import ENSEMBLE_PLATFORM
from pyserver.config.model_config_pb2 import DataType, ModelConfig, ModelEnsembling
from pyserver.errors import InvalidArgumentError

WILDCARD = -1


def scheduling_belongs_to_ensembles(config: ModelConfig) -> Iterator[str]:
    is_ensemble = config.platform == ENSEMBLE_PLATFORM
    has_scheduling = config.HasField("ensemble_scheduling")
    if has_scheduling and not is_ensemble:
        yield (
            f"ensemble scheduling cannot be set for model '{config.name}' whose platform is not"
            f" {ENSEMBLE_PLATFORM}"
        )
    elif is_ensemble and not has_scheduling:
        yield (
            f"ensemble scheduling must be set for ensemble {config.name} whose platform is"
            f" {ENSEMBLE_PLATFORM}"
        )


def ensemble_leaves_out_what_steps_decide(config: ModelConfig) -> Iterator[str]:
    if not config.HasField("ensemble_scheduling"):
        return
    if config.instance_group:
        yield f"instance group should not be specified for ensemble '{config.name}'"
    if config.HasField("optimization"):
        yield f"optimization should not be specified for ensemble '{config.name}'"
    if config.model_warmup:
        yield f"model_warmup can not be specified for ensemble '{config.name}'"


def steps_are_complete(config: ModelConfig) -> Iterator[str]:
    if not config.HasField("ensemble_scheduling"):
        return
    if not config.ensemble_scheduling.step:
        yield f"must specify 'step' for ensemble '{config.name}'"
    for index, step in enumerate(config.ensemble_scheduling.step):
        where = f"in step {index} of ensemble '{config.name}'"
        if not step.model_name:
            yield f"must specify 'model_name' {where}"
        if not step.input_map:
            yield f"must specify 'input_map' {where}"
        if not step.output_map:
            yield f"must specify 'output_map' {where}"


def tensors_are_connected(config: ModelConfig) -> Iterator[str]:
    """Each tensor is made once, each output can be made, and nothing is made in vain."""
    steps = config.ensemble_scheduling.step
    # Tensor → what it is made from; an ensemble's input is made from nothing.
    sources: dict[str, list[str]] = {}
    producers: set[str] = set()
    for index, step in enumerate(steps):
        inputs = list(step.input_map.values())
        for tensor in inputs:
            sources.setdefault(tensor, [])
        for tensor in step.output_map.values():
            if tensor in producers:
                yield (
                    f"ensemble tensor '{tensor}' can appear in an output map only once for"
                    f" ensemble '{config.name}' step {index}"
                )
            producers.add(tensor)
            sources[tensor] = inputs
    if not steps:
        return
    for kind, names in (
        ("input", [tensor.name for tensor in config.input]),
        ("output", [tensor.name for tensor in config.output]),
    ):
        for name in names:
            if name not in sources:
                # The quote that opens the ensemble's name is missing in Triton's text as well.
                yield f"ensemble {kind} '{name}' for ensemble {config.name}' is not used"
    yield from _outputs_are_reachable(config, sources)
    needed = _all_sources_of([tensor.name for tensor in config.output], sources)
    for tensor in sources:
        if tensor not in needed:
            yield f"ensemble tensor '{tensor}' is unused in ensemble '{config.name}'"


def _outputs_are_reachable(
    config: ModelConfig, sources: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    ready = {tensor.name for tensor in config.input}
    steps = list(config.ensemble_scheduling.step)
    while runnable := [s for s in steps if ready.issuperset(s.input_map.values())]:
        for step in runnable:
            ready.update(step.output_map.values())
        steps = [step for step in steps if step not in runnable]
    for output in config.output:
        if output.name not in ready:
            missing = next((t for t in sources.get(output.name, ()) if t not in ready), output.name)
            yield (
                f"output '{output.name}' for ensemble '{config.name}' is not written: at least"
                f" one of its depending tensors, '{missing}', is not connected"
            )


def _all_sources_of(tensors: Sequence[str], sources: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    pending = list(tensors)
    while pending:
        tensor = pending.pop()
        if tensor not in found:
            found.add(tensor)
            pending.extend(sources.get(tensor, ()))
    return found


@dataclass(frozen=True, slots=True)
class _Tensor:
    """What one model says about a tensor of the ensemble; `shape` has the batch dimension, if the
    model batches."""

    model: str
    data_type: DataType
    shape: tuple[int, ...]


def check_composing_models(config: ModelConfig, models: Mapping[str, ModelConfig]) -> bool:
    """Whether the ensemble is decoupled, because one of its steps is; raises InvalidArgumentError
    where it does not fit.

    `models` has the finished configuration of every model that a step names. The ensemble's own
    configuration is finished by setting `model_transaction_policy.decoupled` to the answer.
    """
    for message in composing_models_fit(config, models):
        raise InvalidArgumentError(message)
    return any(
        models[step.model_name].model_transaction_policy.decoupled
        for step in config.ensemble_scheduling.step
    )


def composing_models_fit(config: ModelConfig, models: Mapping[str, ModelConfig]) -> Iterator[str]:
    """Every way in which the ensemble does not fit the models of its steps."""
    known: dict[str, _Tensor] = {}
    for given in config.input:
        known[given.name] = _tensor_of(config, given.data_type, given.dims)
    for made in config.output:
        known[made.name] = _tensor_of(config, made.data_type, made.dims)
    for step in config.ensemble_scheduling.step:
        model = models[step.model_name]
        if config.max_batch_size > model.max_batch_size > 0:
            yield (
                f"ensemble {config.name} allows maximum batch size {config.max_batch_size}, but"
                f" it contains model {model.name} which only allows maximum batch size to be"
                f" {model.max_batch_size}"
            )
        yield from _inputs_fit(config, step, model, known)
        yield from _outputs_fit(config, step, model, known)
    yield from _decoupled_steps_fit(config, models)


def _inputs_fit(
    config: ModelConfig, step: ModelEnsembling.Step, model: ModelConfig, known: dict[str, _Tensor]
) -> Iterator[str]:
    inputs = {tensor.name: tensor for tensor in model.input}
    for name, target in step.input_map.items():
        if name not in inputs:
            yield (
                f"in ensemble {config.name}, ensemble tensor {target} is mapping to non-existing"
                f" input {name} in model {model.name}"
            )
    for name, tensor in inputs.items():
        if name not in step.input_map and not tensor.optional:
            yield (
                f"in ensemble {config.name}, input {name} in model {model.name} is not mapped to"
                " any ensemble tensors"
            )
    for name, target in step.input_map.items():
        if name in inputs:
            said = _tensor_of(model, inputs[name].data_type, inputs[name].dims)
            yield from _same(config, target, known.setdefault(target, said), said)


def _outputs_fit(
    config: ModelConfig, step: ModelEnsembling.Step, model: ModelConfig, known: dict[str, _Tensor]
) -> Iterator[str]:
    outputs = {tensor.name: tensor for tensor in model.output}
    for name, target in step.output_map.items():
        if name not in outputs:
            yield (
                f"in ensemble {config.name}, ensemble tensor {target} is mapped from non-existing"
                f" output {name} in model {model.name}"
            )
            continue
        said = _tensor_of(model, outputs[name].data_type, outputs[name].dims)
        yield from _same(config, target, known.setdefault(target, said), said)


def _tensor_of(model: ModelConfig, data_type: DataType, dims: Sequence[int]) -> _Tensor:
    batch = (WILDCARD,) if model.max_batch_size > 0 else ()
    return _Tensor(model.name, data_type, (*batch, *dims))


def _same(config: ModelConfig, tensor: str, known: _Tensor, said: _Tensor) -> Iterator[str]:
    what = f"in ensemble {config.name}, ensemble tensor {tensor}: inconsistent"
    if known.data_type != said.data_type:
        yield (
            f"{what} data type: {DataType.Name(known.data_type)} is inferred from model"
            f" {known.model} while {DataType.Name(said.data_type)} is inferred from model"
            f" {said.model}"
        )
    elif not _shapes_can_meet(known.shape, said.shape):
        yield (
            f"{what} shape: {_text(known.shape)} is inferred from model {known.model} while"
            f" {_text(said.shape)} is inferred from model {said.model}"
        )


def _shapes_can_meet(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Equal but for variable dimensions, also when only one of the two carries a batch dimension in
    front."""
    if len(one) == len(other) + 1 and one[0] == WILDCARD:
        one = one[1:]
    elif len(other) == len(one) + 1 and other[0] == WILDCARD:
        other = other[1:]
    return len(one) == len(other) and all(
        a == b or WILDCARD in (a, b) for a, b in zip(one, other, strict=True)
    )


def _text(shape: Sequence[int]) -> str:
    return "[" + ",".join(str(dim) for dim in shape) + "]"


def _decoupled_steps_fit(config: ModelConfig, models: Mapping[str, ModelConfig]) -> Iterator[str]:
    """A step, and the ensemble's set of outputs, may depend on the responses of one decoupled step
    only."""
    origins: dict[str, frozenset[int]] = {tensor.name: frozenset() for tensor in config.input}
    steps = list(enumerate(config.ensemble_scheduling.step))
    while ready := [(i, s) for i, s in steps if origins.keys() >= set(s.input_map.values())]:
        for index, step in ready:
            origin = frozenset[int]().union(*(origins[t] for t in step.input_map.values()))
            if models[step.model_name].model_transaction_policy.decoupled:
                origin |= {index}
            yield from _one_origin(config, origin)
            origins.update(dict.fromkeys(step.output_map.values(), origin))
        steps = [pair for pair in steps if pair not in ready]
    outputs = (origins.get(tensor.name, frozenset()) for tensor in config.output)
    yield from _one_origin(config, frozenset[int]().union(*outputs))


def _one_origin(config: ModelConfig, origin: frozenset[int]) -> Iterator[str]:
    if len(origin) > 1:
        # Triton names the ensemble, not the step's model, in this place.
        yield (
            f"in ensemble {config.name}, step of model '{config.name}' receives inputs originated"
            " from different decoupled models"
        )
