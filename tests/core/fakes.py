"""Fakes at core's seams: an engine that keeps books, a supervisor whose processes live in the test,
and frontends that confirm what they are told.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyserver.control.channel import AsyncControlSocket, Message, pair
from pyserver.core.role import Core, Predecessor
from pyserver.core.supervisor_link import SupervisorLink
from pyserver.settings import Settings


class FakeEngine:
    """Peers, models and instances as sets; drains at once unless told to wait."""

    def __init__(self) -> None:
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.region_fd = os.memfd_create("core")
        self.peers: dict[int, str] = {}
        self.models: dict[int, Mapping[str, Any]] = {}
        self.instances: dict[int, set[int]] = {}
        self.places: dict[int, int] = {}  # of a peer, among its model's instances
        self.retired: list[tuple[int, str]] = []
        self.aborted: list[tuple[int, str]] = []
        self.drained: list[int] = []
        self.drains_at_once = True
        self.late: set[int] = set()
        self.waiting = True  # somebody, for what is being drained
        self.used: dict[int, tuple[int, int]] = {}  # (in flight, monotonic ns of the last use)
        self.warmed: list[tuple[int, Any]] = []
        self.warm_up_says: list[str | None] = []  # None: nothing, for now; afterwards all is well
        self._events: list[tuple[Any, ...]] = []
        self._warming: set[int] = set()
        self._next_peer = 1

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def announce(self, entry: str) -> None: ...

    def make_peer(self, kind: str, region_bytes: int) -> tuple[int, list[int]]:
        peer = self._next_peer
        self._next_peer += 1
        self.peers[peer] = kind
        return peer, [os.memfd_create(f"{kind}{peer}") for _ in range(4)]

    def retire_peer(self, peer: int, message: str) -> None:
        self.retired.append((peer, message))
        self.late.discard(peer)
        self.peers.pop(peer, None)
        for its in self.instances.values():
            its.discard(peer)
        if peer in self._warming:
            self._warming.discard(peer)
            self.say("warmed_up", peer, message)

    def add_model(self, handle: int, settings: Mapping[str, Any]) -> None:
        self.models[handle] = settings
        self.instances[handle] = set()

    def waited_for(self, handle: int) -> bool:
        return self.waiting

    def drain_model(self, handle: int) -> None:
        self.drained.append(handle)
        if self.drains_at_once:
            self.say("drained", handle)

    def stop_models(self) -> None:
        self.say("quiet", 0)

    def abort_model(self, handle: int, message: str) -> None:
        self.aborted.append((handle, message))
        self.say("drained", handle)

    def remove_model(self, handle: int) -> None:
        self.models.pop(handle, None)
        self.instances.pop(handle, None)

    def add_instance(self, handle: int, peer: int, index: int = 0) -> None:
        self.instances[handle].add(peer)
        self.places[peer] = index

    def remove_instance(self, peer: int) -> None: ...

    def warm_up(self, handle: int, peer: int, sample: Any) -> None:
        assert self.peers[peer] == "instance"
        assert not any(peer in its for its in self.instances.values()), "it takes traffic already"
        self.warmed.append((peer, sample))
        said = self.warm_up_says.pop(0) if self.warm_up_says else ""
        if said is None:
            self._warming.add(peer)
        else:
            self.say("warmed_up", peer, said)

    def overdue(self) -> list[int]:
        return list(self.late)

    def statistics(self, handle: int) -> dict[str, Any]:
        none = {"count": 0, "ns": 0}
        names = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
        return {
            "last_inference": 0,
            "inference_count": handle,
            "execution_count": 0,
            "queued": 0,
            "batch_stats": [],
            **dict.fromkeys(names, none),
        }

    def usage(self) -> dict[int, tuple[int, int]]:
        return {handle: self.used.get(handle, (0, 0)) for handle in self.models}

    def counters(self) -> dict[str, int]:
        return {"peers": len(self.peers), "models": len(self.models)}

    def events(self) -> list[tuple[Any, ...]]:
        os.eventfd_read(self.event_fd)
        taken, self._events = self._events, []
        return taken

    def say(self, *event: Any) -> None:
        self._events.append(event)
        os.eventfd_write(self.event_fd, 1)

    def close(self) -> None:
        os.close(self.event_fd)
        os.close(self.region_fd)


@dataclass
class Behaviour:
    """What a fake instance process does when it is asked."""

    completion: dict[str, Any] | None = None
    fail_prepare: str = ""
    fail_load: str = ""
    die_at: str = ""  # "prepare", "attach" or "load"
    hold_load: asyncio.Event | None = None
    ignores_stop: bool = False
    ignores_preload: bool = False


class FakeInstance:
    """The instance's side of the conversation."""

    def __init__(self, supervisor: FakeSupervisor, key: str, pid: int, fd: int) -> None:
        self.key = key
        self.pid = pid
        self.peers: list[int] = []
        self.regions: set[int] = set()
        self.said: list[str] = []
        self.model: dict[str, Any] = {}
        self.config = ""
        self.alive = True
        self._supervisor = supervisor
        self.control = AsyncControlSocket(
            fd, asyncio.get_running_loop(), on_message=self._received, on_closed=lambda: None
        )

    @property
    def behaviour(self) -> Behaviour:
        return self._supervisor.behaviours.get(str(self.model.get("name")), Behaviour())

    def die(self, signal: int | None = 11, exit_code: int | None = None, oom: bool = False) -> None:
        """Ends the process; the supervisor tells."""
        if self.alive:
            self.alive = False
            self.control.close()
            self._supervisor.tell_exit(self, signal, exit_code, oom)

    def _received(self, message: Message, fds: list[int]) -> None:
        op = message["op"]
        self.said.append(op)
        kept = os.dup(fds[0]) if op == "fork" else -1  # the control socket of what is forked
        for fd in fds:
            os.close(fd)
        if op in ("prepare", "preload"):
            self.model = message["model"]
        if self.behaviour.die_at == op:
            self.die()
        elif op == "prepare":
            self._answer(
                self.behaviour.fail_prepare, {"op": "prepared", "completion": self._completion()}
            )
        elif op == "preload" and not self.behaviour.ignores_preload:
            self._answer(self.behaviour.fail_prepare, {"op": "preloaded"})
        elif op == "fork":
            self._supervisor.forked(self, message, kept)
        elif op == "attach":
            assert len(fds) == 4
            self.peers.append(message["peer"])
        elif op == "region":
            self.regions.add(message["peer"])
            self.control.send({"op": "region_ok", "peer": message["peer"]})
        elif op == "retire":
            self.regions.discard(message["peer"])
        elif op == "load":
            self.config = message["config"]
            hold = self.behaviour.hold_load
            if hold is not None and not hold.is_set():
                self._supervisor.keep(hold.wait(), self._loaded)
            else:
                self._loaded()
        elif op == "join":
            self.control.send({"op": "joined"})
        elif op == "stop" and not self.behaviour.ignores_stop:
            self.die(None, 0)

    def _loaded(self) -> None:
        self._answer(self.behaviour.fail_load, {"op": "loaded"})

    def _completion(self) -> dict[str, Any] | None:
        return self.behaviour.completion if self.model.get("auto_complete") else None

    def _answer(self, failure: str, answer: Message) -> None:
        if not self.alive:
            return
        failed = {"op": "failed", "message": failure, "code": 1}
        self.control.send(failed if failure else answer)


class FakeSupervisor:
    """Core's parent: runs fake instances, keeps what core says."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.instances: list[FakeInstance] = []
        self.heard: list[Message] = []
        self.killed: list[tuple[str, int]] = []
        self.forks: list[Message] = []  # that templates were asked for
        self.forks_hang = False
        self.fork_fails = ""
        self._unanswered: list[FakeInstance] = []
        self._tasks: set[asyncio.Task[None]] = set()
        ours, theirs = pair()
        self.core_fd = theirs.detach()
        self.control = AsyncControlSocket(
            ours.detach(),
            asyncio.get_running_loop(),
            on_message=self._received,
            on_closed=lambda: None,
        )

    @property
    def alive(self) -> list[FakeInstance]:
        return [one for one in self.instances if one.alive]

    def of(self, model: str) -> list[FakeInstance]:
        return [one for one in self.alive if one.model.get("name") == model]

    def first(self, op: str) -> Message | None:
        return next((one for one in self.heard if one["op"] == op), None)

    def keep(self, wait: Any, then: Callable[[], None]) -> None:
        async def work() -> None:
            await wait
            then()

        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def tell_exit(
        self, instance: FakeInstance, signal: int | None, exit_code: int | None, oom: bool
    ) -> None:
        self.control.send(
            {
                "op": "exited",
                "key": instance.key,
                "pid": instance.pid,
                "signal": signal,
                "exit_code": exit_code,
                "out_of_memory": oom,
            }
        )

    def forked(self, template: FakeInstance, message: Message, fd: int) -> None:
        """A template was asked for an instance; `fd` is the control socket of it."""
        self.forks.append(message)
        if self.fork_fails:
            os.close(fd)
            failed = {"op": "fork_failed", "key": message["key"], "message": self.fork_fails}
            template.control.send(failed)
            return
        self._unanswered.append(FakeInstance(self, message["key"], 1000 + len(self.instances), fd))
        self.instances.append(self._unanswered[-1])
        if not self.forks_hang:
            self.answer_fork(template)

    def answer_fork(self, template: FakeInstance) -> None:
        made = self._unanswered.pop()
        template.control.send({"op": "forked", "key": made.key, "pid": made.pid})

    def _received(self, message: Message, fds: list[int]) -> None:
        self.heard.append(message)
        if message["op"] == "spawn":
            pid = 1000 + len(self.instances)
            self.instances.append(FakeInstance(self, message["key"], pid, fds[0]))
            for fd in fds[1:]:
                os.close(fd)
            self.control.send({"op": "spawned", "key": message["key"], "pid": pid})
        elif message["op"] == "kill":
            self.killed.append((message["key"], message["signal"]))
            for one in self.instances:
                if one.key == message["key"] and message["signal"] == 9:
                    one.die(9)


class FakeFrontend:
    """The frontend's side: confirms regions, keeps the catalog."""

    def __init__(self, fd: int) -> None:
        self.heard: list[str] = []
        self.peer = -1
        self.regions: set[int] = set()
        self.models: dict[str, Any] = {}
        self.health: Message = {}
        self.confirms = True
        self.control = AsyncControlSocket(
            fd, asyncio.get_running_loop(), on_message=self._received, on_closed=lambda: None
        )

    def states(self, model: str) -> dict[int, str]:
        return {one["version"]: one["state"] for one in self.models[model]["versions"]}

    def _received(self, message: Message, fds: list[int]) -> None:
        op = message["op"]
        self.heard.append(op)
        for fd in fds:
            os.close(fd)
        if op == "attach":
            self.peer = message["peer"]
        elif op == "region":
            self.regions.add(message["peer"])
            if self.confirms:
                self.control.send({"op": "region_ok", "peer": message["peer"]})
        elif op == "retire":
            self.regions.discard(message["peer"])
        elif op == "model":
            self.models[message["name"]] = message
        elif op == "health":
            self.health = message
        elif op == "counters":
            self.control.send({"op": "counters", "requests": 7})


@dataclass(frozen=True)
class FakeBackend:
    threads_share_process: bool
    models_bring_python: bool = False
    may_fork: bool = False


BACKENDS = {"identity": FakeBackend(True), "python": FakeBackend(False, may_fork=True)}


@dataclass
class Bench:
    """A core with fakes around it."""

    core: Core
    engine: FakeEngine
    supervisor: FakeSupervisor
    frontends: list[FakeFrontend] = field(default_factory=list)

    async def start(self) -> None:
        await self.core.start()

    async def add_frontend(self, index: int) -> FakeFrontend:
        ours, theirs = pair()
        frontend = FakeFrontend(theirs.detach())
        self.frontends.append(frontend)
        self.core.spawn_task(self.core.frontends.add(index, ours.detach()))
        return frontend

    async def close(self) -> None:
        await self.core.stop()
        for one in (*self.frontends, *self.supervisor.instances):
            one.control.close()
        self.supervisor.control.close()
        self.core.link.close()
        self.engine.close()


def make_bench(predecessor: Predecessor | None = None, **settings: Any) -> Bench:
    engine, supervisor = FakeEngine(), FakeSupervisor()
    defaults: dict[str, Any] = {"region_byte_size": 1 << 20, "exit_timeout_secs": 2}
    made = Settings(**(defaults | settings))
    link = SupervisorLink(
        supervisor.core_fd,
        asyncio.get_running_loop(),
        on_message=lambda message, fds: core.received(message, fds),
        on_closed=lambda: None,
    )
    core = Core(made, engine, link, backend_info=BACKENDS.get, gpu_count=0, predecessor=predecessor)
    return Bench(core, engine, supervisor)


CONFIG = """
backend: "{backend}"
max_batch_size: 8
input [ {{ name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }} ]
instance_group [ {{ count: {count} kind: KIND_CPU }} ]
{more}
"""


def write_model(
    repository: Path,
    name: str,
    *,
    backend: str = "identity",
    versions: tuple[int, ...] = (1,),
    count: int = 1,
    more: str = "",
    **parameters: str,
) -> Path:
    folder = repository / name
    for key, value in parameters.items():
        more += f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
    folder.mkdir(exist_ok=True)
    for version in versions:
        (folder / str(version)).mkdir(parents=True, exist_ok=True)
    text = CONFIG.format(backend=backend, count=count, more=more)
    (folder / "config.pbtxt").write_text(text)
    return folder


async def eventually(condition: Callable[[], Any], what: str = "", timeout_s: float = 5.0) -> Any:
    try:
        async with asyncio.timeout(timeout_s):
            while not (value := condition()):
                await asyncio.sleep(0.002)
            return value
    except TimeoutError:
        raise AssertionError(f"waited {timeout_s} s for {what or condition}") from None
