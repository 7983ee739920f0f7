"""What a backend may add to a configuration once it has looked at the model: the rules of
auto-complete.

A backend answers with a `ModelSignature` (its framework's own list of inputs and outputs) or with a
dict (what a Python model's `auto_complete_config` returned). Both cross from the instance process
as JSON; see `ModelSignature.to_json`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyserver import datatype
from pyserver.config.model_config_pb2 import ModelConfig, ModelInput, ModelOutput
from pyserver.config.parse import parse_tree
from pyserver.errors import InternalError, InvalidArgumentError

_LOG = logging.getLogger(__name__)

# `--backend-config=default-max-batch-size=N` overrides it.
DEFAULT_MAX_BATCH_SIZE = 4

VARIABLE = -1

# Members of a Python model's answer that count; Triton ignores all others.
_ACCEPTED = ("max_batch_size", "input", "output")
_SCHEDULERS = ("dynamic_batching", "sequence_batching")
_POLICY = "model_transaction_policy"
# What a function with `@pyserver.model` says, and Triton's models cannot.
_OURS = "pyserver"


@dataclass(frozen=True, slots=True)
class TensorSignature:
    """One tensor as the model file declares it: wire datatype, and every dimension, the batch's
    too; -1 is variable."""

    name: str
    datatype: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelSignature:
    """All inputs and outputs of a model file, in its own order."""

    inputs: tuple[TensorSignature, ...]
    outputs: tuple[TensorSignature, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> ModelSignature:
        return cls(_tensors(tree["inputs"]), _tensors(tree["outputs"]))


def _tensors(items: Sequence[Mapping[str, Any]]) -> tuple[TensorSignature, ...]:
    return tuple(
        TensorSignature(item["name"], item["datatype"], tuple(item["dims"])) for item in items
    )


def complete(
    config: ModelConfig,
    answer: ModelSignature | Mapping[str, Any] | None,
    *,
    default_max_batch_size: int = DEFAULT_MAX_BATCH_SIZE,
) -> ModelConfig:
    """A copy of `config` with what the backend's answer may add; None adds nothing.

    The result is not normalised and not checked: `pyserver.config.load.finish` does both. Raises
    InvalidArgumentError where the answer contradicts the configuration or cannot be read.
    """
    made = ModelConfig()
    made.CopyFrom(config)
    if isinstance(answer, ModelSignature):
        _complete_from_signature(made, answer, default_max_batch_size)
    elif answer is not None:
        _complete_from_dict(made, answer)
    return made


def is_complete(config: ModelConfig) -> bool:
    """Whether inputs and outputs are all given, so that a framework's signature has nothing to
    add."""
    return bool((config.input or config.batch_input) and config.output)


def _complete_from_signature(
    config: ModelConfig, signature: ModelSignature, default_max_batch_size: int
) -> None:
    """The rule of Triton's ONNX Runtime backend."""
    if is_complete(config):
        return
    _complete_batching(config, signature, default_max_batch_size)
    if not config.input:
        for tensor in signature.inputs:
            _fill_tensor(config.input.add(), tensor, config)
    if not config.output:
        for tensor in signature.outputs:
            _fill_tensor(config.output.add(), tensor, config)


def _complete_batching(
    config: ModelConfig, signature: ModelSignature, default_max_batch_size: int
) -> None:
    tensors = (*signature.inputs, *signature.outputs)
    batchable = bool(tensors) and all(t.dims and t.dims[0] == VARIABLE for t in tensors)
    if not batchable:
        if config.max_batch_size > 0:
            raise InvalidArgumentError(
                f"autofill failed for model '{config.name}': model does not support batching"
                " while non-zero max_batch_size is specified"
            )
        return
    if config.max_batch_size == 0 and default_max_batch_size > 0:
        config.max_batch_size = default_max_batch_size
        _LOG.warning(
            "autofilled max_batch_size to %d for model '%s' since batching is supported but no"
            " max_batch_size is specified in model configuration. Must specify max_batch_size to"
            " utilize autofill with a larger max batch size",
            default_max_batch_size,
            config.name,
        )
    if config.max_batch_size > 1 and config.WhichOneof("scheduling_choice") is None:
        config.dynamic_batching.SetInParent()


def _fill_tensor(
    section: ModelInput | ModelOutput, tensor: TensorSignature, config: ModelConfig
) -> None:
    kind = datatype.BY_WIRE_NAME.get(tensor.datatype)
    if kind is None:
        raise InvalidArgumentError(
            f"autofill failed for model '{config.name}': tensor '{tensor.name}' has datatype"
            f" '{tensor.datatype}', which no request can carry"
        )
    batching = config.max_batch_size > 0
    dims = tensor.dims[1:] if batching else tensor.dims
    section.name = tensor.name
    section.data_type = kind.number  # type: ignore[assignment]
    # A scalar is one element to clients, because `dims` must not be empty; the model sees its own
    # shape again.
    section.dims.extend(dims or (1,))
    if batching and not dims:
        section.reshape.SetInParent()


def _complete_from_dict(config: ModelConfig, answer: Mapping[str, Any]) -> None:
    """The rule of Triton's Python backend, and of the core behind it."""
    wanted = (*_ACCEPTED, *_SCHEDULERS, _POLICY)
    tree = {name: answer[name] for name in wanted if name in answer}
    scheduled = config.WhichOneof("scheduling_choice") is not None
    for name in _SCHEDULERS:
        if scheduled:
            tree.pop(name, None)
    if all(name in tree for name in _SCHEDULERS):
        raise InternalError(
            f"auto_complete_config of model '{config.name}' sets both 'dynamic_batching' and"
            " 'sequence_batching'; a model has one scheduler"
        )
    try:
        said = parse_tree(tree)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(
            f"autofill failed for model '{config.name}': auto_complete_config returned a"
            f" configuration that cannot be read: {error}"
        ) from error
    config.max_batch_size = said.max_batch_size
    config.ClearField("input")
    config.ClearField("output")
    config.input.extend(said.input)
    config.output.extend(said.output)
    if said.HasField("dynamic_batching"):
        config.dynamic_batching.CopyFrom(said.dynamic_batching)
    elif said.HasField("sequence_batching"):
        config.sequence_batching.CopyFrom(said.sequence_batching)
    if said.HasField(_POLICY):
        config.model_transaction_policy.CopyFrom(said.model_transaction_policy)
    instances = answer.get(_OURS, {}).get("instances", 0)
    groups = config.instance_group
    # Not where the config has groups of its own: a name without a number is that of the default.
    if instances and (
        not groups or [(one.name, one.count) for one in groups] == [(config.name, 1)]
    ):
        (groups[0] if groups else groups.add()).count = instances
