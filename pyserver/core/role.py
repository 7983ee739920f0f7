"""The core role: one engine, and around it the control plane on one asyncio loop.

Supervisor's messages come in here; models are loaded at start; frontends are introduced, served
with the catalog, and answered through the stock HTTP application for all that is not inference.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from pyserver.cache_settings import CacheSettings, cache_settings
from pyserver.control.channel import Message
from pyserver.core.callers import Callers
from pyserver.core.catalog import catalog_entry
from pyserver.core.engine_link import Engine, EngineEvents
from pyserver.core.frontends import Frontends
from pyserver.core.instance_calls import InstanceCalls
from pyserver.core.model_loader import ModelLoader
from pyserver.core.model_source import ModelSources
from pyserver.core.peers import PeerDirectory
from pyserver.core.remote_cache import RemoteCache
from pyserver.core.running_versions import with_memory
from pyserver.core.served_version import Environment
from pyserver.core.supervisor_link import SupervisorLink
from pyserver.core.version_load import BackendInfo, LoadContext
from pyserver.errors import ServerError
from pyserver.observe.device_memory import DeviceMemory
from pyserver.observe.memory import proportional_byte_size, resident_byte_size
from pyserver.repository.lifecycle import State
from pyserver.repository.registry import DUPLICATED, IndexEntry, Registry
from pyserver.settings import Settings

log = logging.getLogger(__name__)

MakeEngine = Callable[[Settings], Engine]
# What becomes of a connection that a frontend hands over: an HTTP/1.1 client is at its other end.
ServeHttp = Callable[[socket.socket], Coroutine[Any, Any, None]]


class GrpcService(Protocol):
    """All of gRPC but inference."""

    link_fd: int

    def notice_health(self) -> None: ...

    async def close(self, grace_s: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The core process before this one, which died: in explicit mode, the models that it had."""

    models: tuple[str, ...] = ()


class Core:
    """Everything in the core process, from "start" to "stop". `stopped` is set at the end."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        link: SupervisorLink,
        *,
        backend_info: Callable[[str], BackendInfo | None],
        gpu_count: int,
        predecessor: Predecessor | None = None,
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.link = link
        self.exiting = False
        self._loop = asyncio.get_running_loop()
        self._predecessor = predecessor
        self._started = False
        self._dirty: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._http: asyncio.Future[ServeHttp] = self._loop.create_future()
        self._grpc: GrpcService | None = None
        self.registry = Registry(self._changed)
        self.events = EngineEvents(engine, self._loop, self._broken_peer)
        self.directory = PeerDirectory(engine.region_fd, self._loop)
        self.frontends = Frontends(
            engine,
            self.directory,
            self._loop,
            region_bytes=settings.region_byte_size,
            catalog=self._catalog,
            on_proxy=self._proxied,
            kill=lambda index: link.send({"op": "kill_frontend", "index": index}),
        )
        self.callers = Callers(self.directory, self.registry, self._loop, self._catalog)
        cache = cache_settings(settings.cache_config)
        self._remote_cache: RemoteCache | None = None
        if cache is not None and cache.redis is not None:
            self._remote_cache = RemoteCache(cache.redis, engine, self._loop)
            self.events.on_cache = self._remote_cache.heard
        self.calls = InstanceCalls(settings, self.registry)
        self._devices = DeviceMemory()
        environment = Environment(
            loop=self._loop,
            engine=engine,
            events=self.events,
            directory=self.directory,
            link=link,
            region_bytes=settings.region_byte_size,
            stop_timeout_s=max(2.0, float(settings.exit_timeout_secs)),
            calls=self.calls,
            cache_seed=_cache_seed(cache),
            remote_cache=self._remote_cache,
            callers=self.callers,
        )
        self.sources = ModelSources(settings, gpu_count)
        self.loader = ModelLoader(
            LoadContext(settings, environment, gpu_count, backend_info),
            self.sources,
            self.registry,
            self.settle,
            self._remember,
        )
        self.calls.serve(self.loader)

    def custom_metrics(self) -> dict[str, list[dict[str, Any]]]:
        """What the models count by themselves, by model: see CustomMetrics."""
        return self.calls.metrics.custom_metrics()

    # --- start ---

    async def start(self) -> None:
        """Loads the models of the start, then serves; sends "ready", or "fatal"."""
        if self.settings.model_control_mode == "poll":
            log.warning(
                "--model-control-mode=poll: the repository is read once at the start;"
                " following its changes is not part of this version"
            )
        try:
            if self._remote_cache is not None:
                await self._remote_cache.open()
            found = await asyncio.to_thread(self.sources.scan)
        except ServerError as error:
            self.link.send({"op": "fatal", "message": f"{error.code_name}: {error}"})
            return
        names = self._names_to_load(sorted(found.models))
        duplicates = found.duplicates if self.settings.model_control_mode != "explicit" else ()
        for name in duplicates:
            log.error("failed to load '%s': %s", name, DUPLICATED)
        results = await asyncio.gather(
            *(self.loader.load(name) for name in names), return_exceptions=True
        )
        for name, result in zip(names, results, strict=True):
            if isinstance(result, BaseException) and not isinstance(result, ServerError):
                log.error("failed to load '%s'", name, exc_info=result)
        failed = bool(duplicates) or any(isinstance(one, BaseException) for one in results)
        if failed and self.settings.exit_on_error and self._predecessor is None:
            self.link.send(
                {"op": "fatal", "message": "creating server: Internal - failed to load all models"}
            )
            return
        self._started = True
        self._announce()
        self.frontends.serve()
        self.link.send({"op": "ready", "summary": self.summary(sorted(duplicates))})

    def _names_to_load(self, in_repository: list[str]) -> list[str]:
        if self.settings.model_control_mode != "explicit":
            return in_repository
        if self._predecessor is not None:
            return list(self._predecessor.models)
        wanted = self.settings.load_model
        return in_repository if "*" in wanted else list(dict.fromkeys(wanted))

    def _remember(self, names: list[str]) -> None:
        """Should this process die, its successor serves the same models."""
        if self.settings.model_control_mode == "explicit":
            self.link.send({"op": "remember", "models": names})

    def summary(self, duplicates: list[str]) -> dict[str, Any]:
        """For the start-up table: what is loaded, what is not and why, and memory."""
        instances = {
            (served.name, served.version): len(served.instances())
            for served in self.loader.running.values()
        }
        lines = [IndexEntry(one.name, one.version, one.state, one.reason) for one in self.registry]
        lines += [
            IndexEntry(name, None, State.UNAVAILABLE, f"Not loaded: {reason}")
            for name, reason in self.loader.never_loaded().items()
        ]
        lines += [IndexEntry(name, None, State.UNAVAILABLE, DUPLICATED) for name in duplicates]
        return {
            "models": [
                {
                    "name": line.name,
                    "version": line.version,
                    "state": line.state,
                    "reason": line.reason,
                    "instances": instances.get((line.name, line.version or 0), 0),
                }
                for line in sorted(lines, key=lambda line: (line.name, line.version or 0))
            ],
            "memory": self._memory(),
        }

    def _memory(self) -> dict[str, int]:
        """What our processes have resident, for the start-up table."""
        pids = [one["pid"] for one in self.loader.running.processes()]
        return {
            "core": resident_byte_size(os.getpid()),
            "instances": sum(proportional_byte_size(pid) for pid in pids),
        }

    async def counters(self) -> dict[str, Any]:
        """The books of the engine, of each frontend, each instance, and each process of models with
        its memory.
        """
        running = self.loader.running
        processes = await asyncio.to_thread(with_memory, running.processes(), self._devices)
        frontends = await self.frontends.counters()
        return {
            "engine": self.engine.counters(),
            "frontends": {str(index): figures for index, figures in frontends.items()},
            "instances": running.instances(),
            "processes": processes,
            "custom_metrics": self.custom_metrics(),
        }

    # --- the supervisor's messages ---

    def received(self, message: Message, fds: list[int]) -> None:
        op = message["op"]
        if op == "frontend" and len(fds) == 1:
            self.spawn_task(self.frontends.add(int(message["index"]), fds[0]))
            return
        for fd in fds:
            os.close(fd)
        if op == "frontend_exited":
            self.frontends.remove(int(message["index"]), str(message.get("reason", "")))
        elif op == "exiting":
            self.spawn_task(self._let_sequences_end())
        elif op == "drain":
            self.spawn_task(self._drain())
        else:
            log.warning("the supervisor said something unknown: '%s'", op)

    async def _let_sequences_end(self) -> None:
        """Takes nothing new but steps of sequences that live. When none does any more, nothing can
        come by the streams that clients hold open: frontends end those in which nothing is under
        way.
        """
        self.begin_exit()
        await self.events.quiet()
        self.frontends.announce({"op": "end_streams"})

    async def _drain(self) -> None:
        """Takes nothing new in; when all is answered and all instances have ended: "drained"."""
        self.begin_exit()
        await self.loader.unload_everything()
        self.link.send({"op": "drained"})

    def begin_exit(self) -> None:
        self.exiting = True
        self._announce_health()

    async def stop(self) -> None:
        """Ends what is left, within a short time."""
        self.begin_exit()
        for task in list(self._tasks):
            task.cancel()
        self.calls.close()
        try:
            async with asyncio.timeout(2.0):
                await self.loader.unload_everything()
        except TimeoutError:
            log.warning("some instances did not end in time")
        if self._grpc is not None:
            await self._grpc.close(grace_s=0.1)
        if self._remote_cache is not None:
            await self._remote_cache.close()
        self.frontends.close()
        self.directory.close()
        self.events.close()

    # --- what the HTTP application needs ---

    def serve_http_with(self, serve: ServeHttp) -> None:
        """Connections that frontends have handed over meanwhile are served now, and all to come."""
        if not self._http.done():
            self._http.set_result(serve)

    def serve_grpc_with(self, server: GrpcService) -> None:
        """Frontends pass on to it every call that is not inference; closed by stop()."""
        self._grpc = server
        self.frontends.connect_grpc(server.link_fd)
        server.notice_health()

    def _proxied(self, fd: int) -> None:
        self.spawn_task(self._serve_http(socket.socket(fileno=fd)))

    async def _serve_http(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            serve = await asyncio.shield(self._http)
        except asyncio.CancelledError:
            connection.close()
            raise
        await serve(connection)

    def is_ready(self) -> bool:
        """The server's readiness as --strict-readiness defines it."""
        if not self._started or self.exiting:
            return False
        return not self.settings.strict_readiness or self.registry.all_ready()

    # --- the catalog ---

    async def settle(self) -> None:
        """Returns when all frontends, and models that call others, know the present state of all
        models.
        """
        self._announce()
        await asyncio.gather(self.frontends.settle(), self.callers.settle())

    def _changed(self, name: str) -> None:
        # Changes of one turn of the loop go out together: a switch of versions is one message.
        if not self._dirty:
            self._loop.call_soon(self._announce)
        self._dirty.add(name)

    def _announce(self) -> None:
        for name in sorted(self._dirty):
            entry = catalog_entry(name, self.registry.versions(name).values())
            self.engine.announce(json.dumps(entry))
            self.frontends.announce(entry)
            self.callers.announce(entry)
        self._dirty.clear()
        self._announce_health()

    def _announce_health(self) -> None:
        self.frontends.set_health(ready=self.is_ready(), live=not self.exiting)
        if self._grpc is not None:
            self._grpc.notice_health()

    def _catalog(self) -> list[Message]:
        return [
            catalog_entry(name, self.registry.versions(name).values())
            for name in self.registry.names()
        ]

    # --- the rest ---

    def _broken_peer(self, peer: int, why: str) -> None:
        if self.frontends.broken(peer):
            return
        self.loader.running.broken_peer(peer)

    def spawn_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("something in the control plane failed", exc_info=task.exception())


def _cache_seed(cache: CacheSettings | None) -> int | None:
    """Nobody outside knows it, so that nobody can prepare requests with equal keys. Servers that
    share a Redis have to agree; there a key counts only together with the model's own files.
    """
    if cache is None:
        return None
    return secrets.randbits(63) if cache.redis is None else 0
