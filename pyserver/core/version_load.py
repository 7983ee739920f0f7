"""Loading one version: its first process, auto-complete, the final config, all its instances."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from pyserver.config.limits import model_limits
from pyserver.core.catalog import engine_settings, model_spec
from pyserver.core.instance_plan import (
    count_instances,
    into_processes,
    plan_instances,
    wants_fork,
)
from pyserver.core.instance_process import InstanceProcess
from pyserver.core.load_limit import within
from pyserver.core.model_environment import PythonEnvironment, python_environment
from pyserver.core.model_source import ModelSource
from pyserver.core.remote_cache import model_digest
from pyserver.core.runtime_threads import thread_variables
from pyserver.core.served_version import Environment, ServedVersion
from pyserver.core.warm_up import make_samples
from pyserver.errors import InvalidArgumentError
from pyserver.repository.lifecycle import Loaded
from pyserver.settings import Settings

if TYPE_CHECKING:
    from pyserver.config.model_config_pb2 import ModelConfig

log = logging.getLogger(__name__)

PROGRESS_EVERY_S: Final = 5.0


class BackendInfo(Protocol):
    """What must be known of a backend without importing it."""

    @property
    def threads_share_process(self) -> bool: ...
    @property
    def models_bring_python(self) -> bool: ...
    @property
    def may_fork(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class LoadContext:
    """What all loads have in common. `backend_info` gives None for a backend that is not there."""

    settings: Settings
    environment: Environment
    gpu_count: int
    backend_info: Callable[[str], BackendInfo | None]
    # Hears of what is loaded, before it serves; raises ServerError if it is not to.
    accept: Callable[[ServedVersion], Awaitable[None]] | None = None
    collect: Callable[[], object] = lambda: None  # what loads leave behind in this process


class VersionLoad:
    """One attempt to load one version; `run` gives what serves it, or raises and leaves nothing."""

    def __init__(
        self,
        context: LoadContext,
        source: ModelSource,
        version: int,
        handle: int,
        on_broken: Callable[[str], None],
    ) -> None:
        self._context = context
        self._source = source
        self._version = version
        self._phase = "starting a process"
        self._first: InstanceProcess | None = None
        self._began_s = time.monotonic()
        self._served = ServedVersion(
            context.environment,
            name=source.name,
            version=version,
            handle=handle,
            on_broken=on_broken,
        )

    async def run(self) -> tuple[ServedVersion, Loaded]:
        log.info("loading: %s:%d", self._source.name, self._version)
        progress = asyncio.create_task(self._tell_progress())
        try:
            info = self._backend_info()
            limits = model_limits(self._source.config.message, self._context.settings)
            self._served.limits = limits
            if info.models_bring_python:
                self._served.source.python = await asyncio.to_thread(self._python_environment)
            loaded = await within(limits.load_s, self._bring_up(info))
            if self._context.accept is not None:
                await self._context.accept(self._served)
        except BaseException:
            await self._served.discard(self._first)
            raise
        finally:
            progress.cancel()
        log.info(
            "loaded '%s' version %d in %.2f s",
            self._source.name,
            self._version,
            time.monotonic() - self._began_s,
        )
        return self._served, loaded

    async def _bring_up(self, info: BackendInfo) -> Loaded:
        config = self._source.config.message
        if info.may_fork and wants_fork(config):
            self._phase = "loading what its instances share"
            await self._served.open_template(self._model(config))
        self._first = self._served.open_process()
        return await self._load(self._first, info)

    def _backend_info(self) -> BackendInfo:
        config = self._source.config.message
        info = self._context.backend_info(config.backend)
        if info is None:
            raise InvalidArgumentError(
                f"unable to find backend library for backend '{config.backend}', try specifying"
                " runtime on the model configuration."
            )
        return info

    def _python_environment(self) -> PythonEnvironment:
        """In a thread: it may unpack, install, and run other programs."""
        config = self._source.config.message
        python = python_environment(
            config.name,
            {key: value.string_value for key, value in config.parameters.items()},
            self._source.folder,
            self._source.folder / str(self._version),
            self._backend_settings(config.backend),
            self._say,
        )
        threads = thread_variables(count_instances(config))
        return replace(python, variables={**threads, **python.variables})

    def _say(self, phase: str) -> None:
        self._phase = phase

    async def _load(self, process: InstanceProcess, info: BackendInfo) -> Loaded:
        from pyserver.config.json_view import config_json
        from pyserver.config.load import finish

        settings, gpu_count = self._context.settings, self._context.gpu_count
        partial = self._source.config.message
        self._phase = "preparing the backend"
        completion = await process.prepare(
            self._model(partial) | {"auto_complete": not settings.disable_auto_complete_config}
        )
        completed = self._complete(partial, completion)
        config = finish(completed, gpu_count=gpu_count, model_dir=self._source.folder)
        spec = model_spec(config, self._source.folder, self._context.environment.cache_seed)
        slots = into_processes(
            plan_instances(config), threads_share_process=info.threads_share_process
        )
        await self._share_answers(config)
        samples = await asyncio.to_thread(
            make_samples, config, spec, self._version, self._source.folder
        )
        self._phase = "loading the model"
        await self._served.start(
            process,
            model=self._model(config),
            config=config_json(config),
            engine_settings=engine_settings(config, self._version)
            | self._served.limits.as_settings(),
            slots=slots,
            samples=samples,
        )
        return Loaded(self._served.handle, config, spec)

    async def _share_answers(self, config: ModelConfig) -> None:
        """With a cache that other servers use, too: by what they know that it is the same model."""
        remote = self._context.environment.remote_cache
        if remote is None or not config.response_cache.enable:
            return
        from pyserver.config.json_view import config_json

        self._phase = "reading the model's files"
        digest = await asyncio.to_thread(
            model_digest, config_json(config), self._source.folder, self._version
        )
        remote.serve(self._served.handle, digest)

    def _model(self, config: ModelConfig) -> dict[str, Any]:
        """What "prepare" tells a process of its model."""
        from pyserver.config.json_view import config_json

        return {
            "name": config.name,
            "version": self._version,
            "backend": config.backend,
            "model_dir": str(self._source.folder),
            "version_dir": str(self._source.folder / str(self._version)),
            "config": config_json(config),
            "backend_config": self._backend_settings(config.backend),
            "settings": self._context.settings.to_dict(),
        }

    def _backend_settings(self, backend: str) -> dict[str, str]:
        return dict(self._context.settings.backend_settings(backend))

    def _complete(self, partial: ModelConfig, completion: Mapping[str, Any] | None) -> ModelConfig:
        from pyserver.config.autocomplete import DEFAULT_MAX_BATCH_SIZE, ModelSignature, complete

        if completion is None:
            return partial
        given = self._backend_settings(partial.backend).get("default-max-batch-size", "")
        limit = int(given) if given.isdigit() else DEFAULT_MAX_BATCH_SIZE
        # A framework's signature has "inputs"; what a Python model says of itself has "input".
        answer: ModelSignature | Mapping[str, Any] = completion
        if "inputs" in completion:
            answer = ModelSignature.from_json(completion)
        return complete(partial, answer, default_max_batch_size=limit)

    async def _tell_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_EVERY_S)
            log.info(
                "still loading '%s' version %d: %s, %.0f s so far",
                self._source.name,
                self._version,
                "warming up" if self._served.warming_up else self._phase,
                time.monotonic() - self._began_s,
            )
