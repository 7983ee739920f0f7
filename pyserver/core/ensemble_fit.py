"""Whether an ensemble fits the models of its steps as they are loaded now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyserver.core.model_source import ModelSource
from pyserver.errors import InvalidArgumentError
from pyserver.repository.lifecycle import UNLOADED, Loaded
from pyserver.repository.registry import Registry

if TYPE_CHECKING:
    from pyserver.config.model_config_pb2 import ModelConfig

PLATFORM: Final = "ensemble"


def is_ensemble(source: ModelSource) -> bool:
    return source.config.message.platform == PLATFORM


def step_models(source: ModelSource) -> list[str]:
    """The models that the source's steps name, each once; none if it is no ensemble."""
    return list(dict.fromkeys(source.steps.values())) if is_ensemble(source) else []


async def refuse_circle(
    source: ModelSource, look_up: Callable[[str], Awaitable[ModelSource | None]]
) -> None:
    """Raises InvalidArgumentError where an ensemble is a step of itself, through others or not."""

    async def walk(one: ModelSource, path: tuple[str, ...]) -> None:
        for name in step_models(one):
            if name in path:
                text = " -> ".join((*path[path.index(name) :], name))
                raise InvalidArgumentError(f"circular dependency between ensembles: {text}")
            step = await look_up(name)
            if step is not None:
                await walk(step, (*path, name))

    await walk(source, (source.name,))


@dataclass(frozen=True, slots=True)
class Fit:
    """What an ensemble takes over from the models of its steps."""

    models: Mapping[str, Loaded]
    decoupled: bool

    def inherit_labels(self, spec: Mapping[str, Any], config: ModelConfig) -> None:
        """An output without a label file of its own has the labels of the step's output."""
        origins = {
            tensor: (step.model_name, name)
            for step in config.ensemble_scheduling.step
            for name, tensor in step.output_map.items()
        }
        for output in spec["outputs"]:
            if output["labels"] is not None or output["name"] not in origins:
                continue
            model, name = origins[output["name"]]
            for made in self.models[model].spec["outputs"]:
                if made["name"] == name:
                    output["labels"] = made["labels"]


def fit(
    config: ModelConfig, steps: Mapping[str, str], registry: Registry, failures: Mapping[str, str]
) -> Fit:
    """`steps` are the models by the names in the config; `failures` says why models could not be
    loaded. Raises InvalidArgumentError with Triton's texts where the ensemble does not fit.
    """
    from pyserver.config.validate_ensemble import check_composing_models

    missing = [
        name
        for name, model in steps.items()
        if not registry.versions(model) and model not in failures
    ]
    if missing:
        raise InvalidArgumentError(
            f"ensemble {config.name} contains models that are not available or ambiguous:"
            f" {', '.join(missing)}"
        )
    models: dict[str, Loaded] = {}
    for step in config.ensemble_scheduling.step:
        name, version = step.model_name, step.model_version
        model = steps[name]
        ready = [one for one in registry.ready_versions(model) if version in (-1, one.version)]
        if not ready or ready[-1].loaded is None:
            raise InvalidArgumentError(
                f"ensemble '{config.name}' depends on '{name}'"
                f" {_what_is_wrong(model, version, registry, failures)}"
            )
        models[name] = ready[-1].loaded
    decoupled = check_composing_models(config, {name: one.config for name, one in models.items()})
    return Fit(models, decoupled)


def _what_is_wrong(name: str, version: int, registry: Registry, failures: Mapping[str, str]) -> str:
    if version != -1:
        return f"whose required version {version} is not loaded."
    text = "which has no loaded version."
    if name in failures:
        return f"{text} Model '{name}' loading failed with error: {failures[name]}"
    for one in registry.versions(name).values():
        if one.reason not in ("", UNLOADED):
            text += f" Model '{name}' version {one.version} is at {one.state} state: {one.reason};"
    return text


def models_with_processes(steps: Iterable[str], registry: Registry) -> frozenset[str]:
    """All that the requests of an ensemble of these models come to, through ensembles among them
    too.
    """
    found: set[str] = set()
    seen: set[str] = set()
    pending = list(steps)
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for version in registry.ready_versions(name):
            if version.loaded is None:
                continue
            if version.loaded.config.platform == PLATFORM:
                pending += version.loaded.steps.values()
            else:
                found.add(name)
    return frozenset(found)
