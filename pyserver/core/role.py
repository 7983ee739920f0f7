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
from pyserver.core.accounts import start_summary
from pyserver.core.callers import Callers
from pyserver.core.catalog import catalog_entry, engine_entry
from pyserver.core.engine_link import Engine, EngineEvents
from pyserver.core.frontends import Frontends
from pyserver.core.instance_calls import InstanceCalls
from pyserver.core.model_loader import ModelLoader
from pyserver.core.model_source import ModelSources, PollFailed
from pyserver.core.on_demand import OnDemand, Surroundings
from pyserver.core.peers import PeerDirectory
from pyserver.core.remote_cache import RemoteCache
from pyserver.core.repository_watch import RepositoryWatch
from pyserver.core.running_versions import with_memory
from pyserver.core.served_version import Environment, ServedVersion
from pyserver.core.supervisor_link import SupervisorLink
from pyserver.core.version_load import BackendInfo, LoadContext
from pyserver.core.watchdog import Watchdog
from pyserver.errors import ServerError
from pyserver.observe.device_memory import DeviceMemory
from pyserver.repository.identity import name_of
from pyserver.repository.registry import DUPLICATED, Registry
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
        collect: Callable[[], object] = lambda: None,
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
            on_want=self._wanted,
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
            LoadContext(settings, environment, gpu_count, backend_info, self._accept, collect),
            self.sources,
            self.registry,
            self.settle,
            self._remember,
        )
        self.calls.serve(self.loader)
        self._watch: RepositoryWatch | None = None
        if settings.model_control_mode == "poll":
            self._watch = RepositoryWatch(
                self.sources,
                self.loader,
                folders=self.sources.folders(),
                every_s=float(settings.repository_poll_secs),
                spawn_task=self.spawn_task,
            )
        self.on_demand: OnDemand | None = None
        if settings.model_control_mode == "on-demand":
            around = Surroundings(
                self.sources.scan,
                self.sources.stamp,
                engine.usage,
                self._changed,
                self._not_loaded,
            )
            self.on_demand = OnDemand(settings, self.loader, self.registry, around)
            self.callers.bring = self.on_demand.bring

    def custom_metrics(self) -> dict[str, list[dict[str, Any]]]:
        """What the models count by themselves, by model: see CustomMetrics."""
        return self.calls.metrics.custom_metrics()

    # --- start ---

    async def start(self) -> None:
        """Loads the models of the start, then serves; sends "ready", or "fatal"."""
        try:
            if self._watch is not None:
                await self._watch.begin()
            if self._remote_cache is not None:
                await self._remote_cache.open()
            found = await asyncio.to_thread(self.sources.scan)
        except ServerError as error:
            self.link.send({"op": "fatal", "message": f"{error.code_name}: {error}"})
            return
        names = self._names_to_load(sorted(found.models))
        duplicates = found.duplicates if not self.settings.loads_when_asked else ()
        if self.on_demand is not None:
            self.on_demand.open(found, names)
        for name in duplicates:
            log.error("failed to load '%s': %s", name, DUPLICATED)
        results = await asyncio.gather(
            *(self.loader.load(name) for name in names), return_exceptions=True
        )
        for name, result in zip(names, results, strict=True):
            if isinstance(result, BaseException) and not isinstance(result, ServerError):
                log.error("failed to load '%s'", name, exc_info=result)
        self.registry.expect_all()
        failed = bool(duplicates) or any(isinstance(one, BaseException) for one in results)
        if failed and self.settings.exit_on_error and self._predecessor is None:
            self.link.send({"op": "fatal", "message": self._why_no_server(results)})
            return
        self._started = True
        self.spawn_task(Watchdog(self.engine, self.loader.running).run())
        self._announce()
        self.frontends.serve()
        if self._watch is not None:
            self.spawn_task(self._watch.run())
        self.link.send(
            {
                "op": "ready",
                "summary": start_summary(self.registry, self.loader, sorted(duplicates)),
            }
        )

    def _why_no_server(self, results: list[BaseException | None]) -> str:
        """Triton's texts: of models that --load-model names, the first one's own."""
        if self.settings.model_control_mode == "explicit" and "*" not in self.settings.load_model:
            for result in results:
                if isinstance(result, PollFailed):
                    break
                if isinstance(result, ServerError):
                    return f"creating server: {result.code_name} - {result}"
        return "creating server: Internal - failed to load all models"

    def _names_to_load(self, in_repository: list[str]) -> list[str]:
        if not self.settings.loads_when_asked:
            return in_repository
        if self._predecessor is not None and self.on_demand is None:
            return list(self._predecessor.models)
        wanted = self.settings.load_model
        return in_repository if "*" in wanted else list(dict.fromkeys(wanted))

    def _remember(self, names: list[str]) -> None:
        """Should this process die, its successor serves the same models."""
        if self.settings.model_control_mode == "explicit":
            self.link.send({"op": "remember", "models": names})

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
            "on_demand": self.on_demand.counters() if self.on_demand is not None else {},
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
        if self.on_demand is not None:
            await self.on_demand.closed()
        await self.loader.unload_everything()
        self.link.send({"op": "drained"})

    def begin_exit(self) -> None:
        self.exiting = True
        if self._watch is not None:
            self._watch.close()
        if self.on_demand is not None:
            self.on_demand.close()
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

    def reason_not_ready(self) -> str:
        """Empty when the server is ready, as --strict-readiness defines it."""
        if not self._started or self.exiting:
            return "the server is exiting" if self.exiting else "the server is starting"
        if not self.settings.strict_readiness:
            return ""
        # On demand, nobody expects of other models that they are loaded now.
        return self.registry.reason_not_ready(self.on_demand.held() if self.on_demand else None)

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
        for model in sorted(self._dirty):
            self.engine.announce(json.dumps(engine_entry(model, self.registry)))
        for name in sorted({name_of(model) for model in self._dirty}):
            entry = self._entry(name)
            self.frontends.announce(entry)
            self.callers.announce(entry)
        self._dirty.clear()
        self._announce_health()

    def _announce_health(self) -> None:
        self.frontends.set_health(ready=not self.reason_not_ready(), live=not self.exiting)
        if self._grpc is not None:
            self._grpc.notice_health()

    def _catalog(self) -> list[Message]:
        names = {name_of(model) for model in self.registry.names()}
        if self.on_demand is not None:
            names.update(self.on_demand.names())
        return [self._entry(name) for name in sorted(names)]

    def _entry(self, name: str) -> Message:
        loadable = self.on_demand is not None and self.on_demand.loadable(name)
        return catalog_entry(name, self.registry, loadable=loadable)

    # --- models on demand ---

    async def _accept(self, served: ServedVersion) -> None:
        if self.on_demand is not None:
            await self.on_demand.accept(served)

    def _wanted(self, name: str) -> None:
        if self.on_demand is not None:
            self.on_demand.want(name)

    def _not_loaded(self, name: str, error: ServerError) -> None:
        self._announce()  # first what has become of the model
        self.frontends.announce(
            {"op": "not_loaded", "name": name, "code": error.code, "message": str(error)}
        )

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
