"""Loading an ensemble: no process, only a fit with the models that it is composed of."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pyserver.core.catalog import engine_settings, ensemble_plan, model_spec
from pyserver.core.model_source import ModelSource
from pyserver.core.served_version import Environment
from pyserver.errors import InvalidArgumentError
from pyserver.repository.lifecycle import Loaded, ModelVersion, State
from pyserver.repository.registry import Registry

if TYPE_CHECKING:
    from pyserver.config.model_config_pb2 import ModelConfig

log = logging.getLogger(__name__)

PLATFORM: Final = "ensemble"


def is_ensemble(source: ModelSource) -> bool:
    return source.config.message.platform == PLATFORM


def step_models(source: ModelSource) -> list[str]:
    """The models that the source's steps name, each once; none if it is no ensemble."""
    if not is_ensemble(source):
        return []
    steps = source.config.message.ensemble_scheduling.step
    return list(dict.fromkeys(step.model_name for step in steps))


class EnsembleVersion:
    """An ensemble that is served: an entry in the engine, without a process."""

    def __init__(self, environment: Environment, *, name: str, version: int, handle: int) -> None:
        self.name = name
        self.version = version
        self.handle = handle
        self._env = environment

    async def start(self, settings: Mapping[str, Any], members: frozenset[str]) -> None:
        """`members` are the models with processes, of ensembles among the steps too: afterwards
        each can read what another has written.
        """
        await self._env.directory.acquaint(members)
        self._env.engine.add_model(self.handle, settings)

    async def stop(self) -> None:
        """Finishes the requests that are in, then forgets the model in the engine."""
        await self._env.events.drain(self.handle)
        self._env.engine.remove_model(self.handle)

    def instances(self) -> list[dict[str, Any]]:
        return []

    def broken_peer(self, peer: int) -> bool:
        return False


class EnsembleLoad:
    """One attempt to load one version of an ensemble, as VersionLoad. The models of its steps have
    been loaded before, or not: `failures` says why.
    """

    def __init__(
        self,
        environment: Environment,
        source: ModelSource,
        version: int,
        handle: int,
        *,
        gpu_count: int,
        registry: Registry,
        failures: Mapping[str, str],
    ) -> None:
        self._source = source
        self._version = version
        self._gpu_count = gpu_count
        self._registry = registry
        self._failures = failures
        self._cache_seed = environment.cache_seed
        self._served = EnsembleVersion(
            environment, name=source.name, version=version, handle=handle
        )

    async def run(self) -> tuple[EnsembleVersion, Loaded]:
        from pyserver.config.load import finish
        from pyserver.config.validate_ensemble import check_composing_models

        config = finish(
            self._source.config.message, gpu_count=self._gpu_count, model_dir=self._source.folder
        )
        models = {
            step.model_name: self._loaded(step.model_name, step.model_version)
            for step in config.ensemble_scheduling.step
        }
        config.model_transaction_policy.decoupled = check_composing_models(
            config, {name: loaded.config for name, loaded in models.items()}
        )
        spec = model_spec(config, self._source.folder, self._cache_seed)
        _inherit_labels(spec, config, models)
        settings = engine_settings(config, self._version) | {"ensemble": ensemble_plan(config)}
        await self._served.start(settings, self._members(config))
        log.info("loaded ensemble '%s' version %d", self._source.name, self._version)
        return self._served, Loaded(self._served.handle, config, spec)

    def _loaded(self, model: str, version: int) -> Loaded:
        ensemble = self._source.name
        ready: list[ModelVersion] = self._registry.ready_versions(model)
        if version != -1:
            ready = [one for one in ready if one.version == version]
        if ready and ready[-1].loaded is not None and ready[-1].state is State.READY:
            return ready[-1].loaded
        if not self._registry.versions(model):
            raise InvalidArgumentError(
                f"ensemble {ensemble} contains models that are not available or ambiguous: {model}"
            )
        if version != -1:
            raise InvalidArgumentError(
                f"ensemble '{ensemble}' depends on '{model}' whose required version {version} is"
                " not loaded"
            )
        why = self._failures.get(model)
        raise InvalidArgumentError(
            f"ensemble '{ensemble}' depends on '{model}' which has no loaded version."
            + (f" Model '{model}' loading failed with error: {why}" if why else "")
        )

    def _members(self, config: ModelConfig) -> frozenset[str]:
        found: set[str] = set()
        pending = [config]
        while pending:
            for step in pending.pop().ensemble_scheduling.step:
                for version in self._registry.ready_versions(step.model_name):
                    if version.loaded is None or step.model_name in found:
                        continue
                    if version.loaded.config.platform == PLATFORM:
                        pending.append(version.loaded.config)
                    else:
                        found.add(step.model_name)
        return frozenset(found)


def _inherit_labels(
    spec: Mapping[str, Any], config: ModelConfig, models: Mapping[str, Loaded]
) -> None:
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
        for made in models[model].spec["outputs"]:
            if made["name"] == name:
                output["labels"] = made["labels"]
