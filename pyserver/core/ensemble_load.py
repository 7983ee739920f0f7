"""Loading an ensemble: no process, only a fit with the models that it is composed of."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pyserver.core.catalog import engine_settings, ensemble_plan, model_spec
from pyserver.core.ensemble_fit import fit, models_with_processes
from pyserver.core.model_source import ModelSource
from pyserver.core.served_version import Environment
from pyserver.repository.lifecycle import Loaded
from pyserver.repository.registry import Registry

log = logging.getLogger(__name__)


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
        # By its own name, too: whoever calls it meets those that come in with its next version.
        await self._env.directory.acquaint(members | {self.name})
        self._env.engine.add_model(self.handle, settings)

    async def stop(self) -> None:
        """Finishes the requests that are in, then forgets the model in the engine."""
        await self._env.events.drain(self.handle)
        self._env.engine.remove_model(self.handle)

    def instances(self) -> list[dict[str, Any]]:
        return []

    def processes(self) -> list[dict[str, Any]]:
        return []

    async def is_ready(self) -> bool:
        return True

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

        config = finish(
            self._source.config.message, gpu_count=self._gpu_count, model_dir=self._source.folder
        )
        steps = self._source.steps
        found = fit(config, steps, self._registry, self._failures)
        config.model_transaction_policy.decoupled = found.decoupled
        spec = model_spec(config, self._source.folder, self._cache_seed)
        found.inherit_labels(spec, config)
        settings = engine_settings(config, self._version) | {
            "ensemble": ensemble_plan(config, self._source.name, steps)
        }
        members = models_with_processes(steps.values(), self._registry)
        await self._served.start(settings, members)
        log.info("loaded ensemble '%s' version %d", self._source.name, self._version)
        return self._served, Loaded(self._served.handle, config, spec, steps)
