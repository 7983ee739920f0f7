"""What clients can ask of the server besides inference, whatever protocol they speak.

HTTP and gRPC call these: results are plain data, refusals are ServerErrors with Triton's texts. A
version of -1 means the newest READY one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyserver
from pyserver.control.c_numbers import leading_integer
from pyserver.errors import InvalidArgumentError, NotFoundError, UnavailableError
from pyserver.repository.identity import name_of
from pyserver.repository.lifecycle import Loaded, ModelVersion
from pyserver.repository.override import LoadOverride, load_override
from pyserver.repository.registry import IndexEntry, Registry
from pyserver.repository.scan import Scan
from pyserver.settings import Settings

if TYPE_CHECKING:
    from pyserver.config.model_config_pb2 import ModelConfig

# In the order that clients' tests compare.
EXTENSIONS: Final = (
    "classification",
    "sequence",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "system_shared_memory",
    "cuda_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
)
NEWEST: Final = -1


class Server(Protocol):
    """The state of the whole server."""

    @property
    def exiting(self) -> bool: ...
    def reason_not_ready(self) -> str: ...


class Loader(Protocol):
    """What loads and unloads models."""

    async def load(self, name: str, override: LoadOverride | None = None) -> None: ...
    async def unload(self, name: str, *, dependents: bool = False) -> None: ...


async def _ready(handle: int) -> bool:
    return True


async def _no_counters() -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where operations get their figures from: the repositories' listing, a model's statistics by
    the engine's handle, the books of the server's own processes, and what models say themselves of
    their readiness, by handle.
    """

    scan: Callable[[], Scan]
    statistics: Callable[[int], Mapping[str, Any]]
    counters: Callable[[], Awaitable[Mapping[str, Any]]] = _no_counters
    readiness: Callable[[int], Awaitable[bool]] = _ready


class Operations:
    """See the module's docstring. Belongs to the control plane's event loop."""

    def __init__(
        self,
        settings: Settings,
        server: Server,
        registry: Registry,
        loader: Loader,
        sources: Sources,
    ) -> None:
        self._settings = settings
        self._server = server
        self._registry = registry
        self._loader = loader
        self._sources = sources

    # --- health ---

    @property
    def exiting(self) -> bool:
        return self._server.exiting

    def server_live(self) -> bool:
        self._refuse_when_exiting()
        return True

    def server_ready(self) -> bool:
        return not self.reason_not_ready()

    def reason_not_ready(self) -> str:
        """Empty when the server is ready."""
        self._refuse_when_exiting()
        return self._server.reason_not_ready()

    async def model_ready(self, name: str, version: int = NEWEST) -> bool:
        """False for a model or version that is unknown, too, as the real server has it. A model
        with an `is_ready` of its own is asked.
        """
        return not await self.reason_model_not_ready(name, version)

    async def reason_model_not_ready(self, name: str, version: int = NEWEST) -> str:
        """Empty when it is ready."""
        try:
            found, loaded = self._find(name, version)
        except (NotFoundError, UnavailableError, InvalidArgumentError) as error:
            states = [
                one.described()
                for model in self._registry.named(name)
                for one in self._registry.versions(model).values()
                if version in (NEWEST, one.version)
            ]
            return "; ".join(states) or str(error)
        if await self._sources.readiness(loaded.handle):
            return ""
        return f"model '{name}' version {found.version} says that it is not ready"

    def _refuse_when_exiting(self) -> None:
        if self._server.exiting:
            raise UnavailableError("Server exiting")

    # --- metadata and config ---

    def server_metadata(self) -> dict[str, Any]:
        return {
            "name": self._settings.id,
            "version": pyserver.__version__,
            "extensions": list(EXTENSIONS),
        }

    def model_metadata(self, name: str, version: int = NEWEST) -> dict[str, Any]:
        from pyserver.config.json_view import metadata_dict

        _, loaded = self._find(name, version)
        model = self._registry.meant(name)
        ready = [one.version for one in self._registry.ready_versions(model)]
        return metadata_dict(loaded.config, ready if version == NEWEST else [version])

    def model_config(self, name: str, version: int = NEWEST) -> dict[str, Any]:
        from pyserver.config.json_view import config_dict

        return config_dict(self.completed_config(name, version))

    def completed_config(self, name: str, version: int = NEWEST) -> ModelConfig:
        """The same as a message."""
        _, loaded = self._find(name, version)
        return loaded.config

    def _find(self, name: str, version: int) -> tuple[ModelVersion, Loaded]:
        found = self._registry.find(name, version)
        assert found.loaded is not None  # that is what READY means
        return found, found.loaded

    # --- statistics ---

    def statistics(self, name: str = "", version: int = NEWEST) -> dict[str, Any]:
        """Of one version, all READY ones of a model, or all of all models (empty name)."""
        names = self._registry.namesakes(name) if name else self._registry.names()
        if name and len(names) > 1:
            names = []  # nobody can be meant
        ready = [one for known in names for one in self._registry.ready_versions(known)]
        if name and not ready:
            raise InvalidArgumentError(f"requested model '{name}' is not available")
        if version != NEWEST:
            ready = [one for one in ready if one.version == version]
            if not ready:
                raise InvalidArgumentError(
                    f"requested model version is not available for model '{name}'"
                )
        return {"model_stats": [self._version_statistics(one) for one in ready]}

    def _version_statistics(self, version: ModelVersion) -> dict[str, Any]:
        assert version.loaded is not None
        figures = self._sources.statistics(version.loaded.handle)
        none = {"count": 0, "ns": 0}
        return {
            "name": name_of(version.name),
            "version": str(version.version),
            "last_inference": figures["last_inference"],
            "inference_count": figures["inference_count"],
            "execution_count": figures["execution_count"],
            "inference_stats": {
                "success": figures["success"],
                "fail": figures["fail"],
                "queue": figures["queue"],
                "compute_input": figures["compute_input"],
                "compute_infer": figures["compute_infer"],
                "compute_output": figures["compute_output"],
                "cache_hit": figures.get("cache_hit", none),
                "cache_miss": figures.get("cache_miss", none),
            },
            "response_stats": figures.get("response_stats", {}),
            "batch_stats": figures["batch_stats"],
            "memory_usage": figures.get("memory_usage", []),
        }

    async def counters(self) -> Mapping[str, Any]:
        """What the server's own processes hold and have done: ours, not Triton's."""
        return await self._sources.counters()

    # --- the model repository ---

    async def repository_index(self, *, ready_only: bool = False) -> list[IndexEntry]:
        found = await asyncio.to_thread(self._sources.scan)
        return self._registry.index(set(found.models), found.duplicates, ready_only=ready_only)

    async def load_model(self, name: str, parameters: Mapping[str, str | bytes]) -> None:
        """Returns when the model serves. `parameters`: "config" (str) and "file:<path>" (bytes)."""
        self.refuse_unless_explicit()
        await self._until_done(self._loader.load(name, load_override(parameters)))

    async def unload_model(self, name: str, *, unload_dependents: bool = False) -> None:
        """Returns when new requests are refused; those in flight are finished later.

        `unload_dependents`: models that were loaded for this ensemble alone go with it.
        """
        self.refuse_unless_explicit()
        await self._until_done(self._loader.unload(name, dependents=unload_dependents))

    async def _until_done(self, work: Awaitable[None]) -> None:
        """A client that hangs up does not undo what it has begun."""
        await asyncio.shield(asyncio.ensure_future(work))

    def refuse_unless_explicit(self) -> None:
        if not self._settings.loads_when_asked:
            raise UnavailableError(
                "explicit model load / unload is not allowed if polling is enabled"
            )


def parse_version(text: str | None) -> int:
    """The version that a request names; -1 for none. Raises InvalidArgumentError."""
    if not text:
        return NEWEST
    try:
        number = leading_integer(text, 64)
    except OverflowError:
        number = None
    if number is None:
        raise InvalidArgumentError(
            f"failed to get model version from specified version string '{text}' (details: stol),"
            " version should be an integral value > 0"
        )
    if number < 0:
        raise InvalidArgumentError(
            f"invalid model version specified '{text}' , version should be an integral value > 0"
        )
    return number
