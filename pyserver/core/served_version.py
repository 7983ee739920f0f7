"""A model version that is being served: its instances, the processes they live in, their recovery.

One process holds all instances of a version where the backend's runtime is thread-safe, otherwise
each instance has a process of its own. A process that dies is started again, first at once and then
later and later; queued requests wait meanwhile. One that dies again and again takes the version
down.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyserver.config.limits import Limits
from pyserver.control.channel import Message
from pyserver.core.backoff import CRASH_LOOP_COUNT, CRASH_LOOP_WITHIN_S
from pyserver.core.callers import Callers
from pyserver.core.engine_link import Engine, EngineEvents
from pyserver.core.instance_calls import InstanceCalls
from pyserver.core.instance_plan import InstancePlan
from pyserver.core.instance_process import InstanceProcess
from pyserver.core.instance_source import InstanceSource
from pyserver.core.load_limit import within
from pyserver.core.peers import PeerDirectory, Side
from pyserver.core.process_slot import ProcessSlot
from pyserver.core.remote_cache import RemoteCache
from pyserver.core.supervisor_link import SupervisorLink
from pyserver.core.warm_up import Sample
from pyserver.errors import InternalError, InvalidArgumentError, ServerError

log = logging.getLogger(__name__)

# Whether anybody still waits for what is being drained.
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Environment:
    """What every version needs of its surroundings."""

    loop: asyncio.AbstractEventLoop
    engine: Engine
    events: EngineEvents
    directory: PeerDirectory
    link: SupervisorLink
    region_bytes: int
    stop_timeout_s: float
    calls: InstanceCalls
    cache_seed: int | None = None  # of the response cache's keys; None: this server has none
    remote_cache: RemoteCache | None = None
    callers: Callers | None = None


class ServedVersion:
    """The running side of one loaded version. `on_broken(reason)` comes when recovery is given
    up.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        name: str,
        version: int,
        handle: int,
        on_broken: Callable[[str], None],
    ) -> None:
        self.name = name
        self.version = version
        self.handle = handle
        self.source = InstanceSource(environment.link, environment.loop, f"{name}:{version}")
        self.limits = Limits()
        self._env = environment
        self._on_broken = on_broken
        self._slots: list[ProcessSlot] = []
        self._model: dict[str, Any] = {}
        self._config = ""
        self._samples: tuple[Sample, ...] = ()
        self._in_engine = False
        self._stopping = False
        self._draining: asyncio.Task[None] | None = None
        self._end_text = f"model '{name}' version {version} was unloaded"
        self._restarts: set[asyncio.Task[None]] = set()

    # --- loading: describe, then start; discard when anything fails ---

    def open_process(self) -> InstanceProcess:
        """Starts a process, which will become the first slot's."""
        process = InstanceProcess(
            self._env.link,
            self._env.loop,
            f"{self.name}:{self.version}",
            on_death=self._died,
            on_request=self._requested,
            spawn=self.source.spawn,
            on_meet=self._meets,
        )
        process.ended.add_done_callback(lambda _: self._env.calls.ended(self.name, process))
        return process

    async def open_template(self, model: Mapping[str, Any]) -> None:
        """The instances will be forked from one process that loads the model first."""
        await self.source.open_template(model, self._requested)

    def _meets(self, process: InstanceProcess, message: Message) -> None:
        if self._env.callers is not None:
            self._env.callers.asked(process, self.name, message)

    async def start(
        self,
        first: InstanceProcess,
        *,
        model: Mapping[str, Any],
        config: str,
        engine_settings: Mapping[str, Any],
        slots: Sequence[Sequence[InstancePlan]],
        samples: Sequence[Sample] = (),
    ) -> None:
        """Loads the model into all processes and takes it into the engine.

        `first` is prepared already; `model` is what the others are told by "prepare", `config` the
        final config (protobuf JSON) and `slots` the instances of each process, which run the
        `samples` before they take traffic. Raises ServerError.
        """
        self._model, self._config, self._samples = dict(model), config, tuple(samples)
        self._slots = [ProcessSlot(instances) for instances in slots]
        self._slots[0].process = first
        # In the order of their indices: add_instance names them by these.
        plans = sorted((one for slot in slots for one in slot), key=lambda one: one.index)
        limits = [one.as_limits() for one in plans]
        self._env.engine.add_model(self.handle, {**engine_settings, "instances": limits})
        self._in_engine = True
        for slot in self._slots[1:]:
            slot.process = self.open_process()
        results = await asyncio.gather(
            *(self._fill(slot, prepare=slot is not self._slots[0]) for slot in self._slots),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def discard(self, first: InstanceProcess | None = None) -> None:
        """After a failed load: nothing stays behind."""
        self._stopping = True
        await self._end_restarts()
        processes = {slot.process for slot in self._slots if slot.process} | ({first} - {None})
        for slot in self._slots:
            self._leave(slot, f"model '{self.name}' failed to load")
        if self._in_engine:
            self._forget()
            self._in_engine = False
        await asyncio.gather(*(process.discard() for process in processes if process is not None))
        await self.source.discard()

    # --- the end: drain, stop ---

    async def stop(self) -> None:
        """Finishes what is in, then ends the processes and forgets the model in the engine."""
        self._stopping = True
        await self._end_restarts()
        if any(slot.process is not None and slot.joined for slot in self._slots):
            await self._drain()
        else:
            await self._env.events.abort(self.handle, self._end_text)
        await self._stop_processes()

    async def _drain(self) -> None:
        """Until all is answered, however long that takes, or until nobody waits any more: then what
        hangs has the time in which processes stop.
        """
        self._draining = self._env.loop.create_task(self._env.events.drain(self.handle))
        while not (await asyncio.wait({self._draining}, timeout=_LOOK_EVERY_S))[0]:
            if not self._env.engine.waited_for(self.handle):
                log.warning(
                    "model '%s' version %d still executes what nobody waits for",
                    self.name,
                    self.version,
                )
                return

    async def _stop_processes(self) -> None:
        processes = [slot.process for slot in self._slots if slot.process is not None]
        await asyncio.gather(*(one.stop(self._env.stop_timeout_s) for one in processes))
        await self.source.stop(self._env.stop_timeout_s)
        for slot in self._slots:
            self._leave(slot, self._end_text)
        self._forget()
        self._in_engine = False

    def _forget(self) -> None:
        self._env.engine.remove_model(self.handle)
        if self._env.remote_cache is not None:
            self._env.remote_cache.forget(self.handle)

    async def _end_restarts(self) -> None:
        for task in list(self._restarts):
            task.cancel()
        await asyncio.gather(*self._restarts, return_exceptions=True)

    # --- what others want to know ---

    def instances(self) -> list[dict[str, Any]]:
        """Each instance with the number of its process, for the summary and statistics."""
        return [
            {
                "name": instance.name,
                "kind": instance.kind,
                "device_id": instance.device_id,
                "pid": slot.process.pid if slot.process else 0,
                "restarts": slot.restart_count,
                "last_end": slot.last_end,
            }
            for slot in self._slots
            for instance in slot.instances
        ]

    def processes(self) -> list[dict[str, Any]]:
        """Each process once, with the instances that live in it."""
        holding = [
            {"pid": slot.process.pid, "instances": [one.name for one in slot.instances]}
            for slot in self._slots
            if slot.process is not None
        ]
        return holding + self.source.processes()

    def set_verbosity(self, level: int) -> None:
        """What --log-verbose is from now on, for all processes."""
        if "settings" in self._model:
            self._model["settings"]["log_verbose"] = level
        for slot in self._slots:
            if slot.process is not None:
                slot.process.set_verbosity(level)
        self.source.set_verbosity(level)

    def _who(self, slot: ProcessSlot) -> str:
        return f"instance '{slot.name}' of model '{self.name}' version {self.version}"

    async def is_ready(self) -> bool:
        """What the models of all instances say of themselves; they are asked at once."""
        processes = [slot.process for slot in self._slots if slot.process is not None]
        return all(await asyncio.gather(*(one.is_ready() for one in processes)))

    @property
    def warming_up(self) -> bool:
        return any(slot.warming for slot in self._slots)

    def broken_peer(self, peer: int) -> bool:
        """Kills the process that the peer belongs to, if it is ours: it breaks the protocol."""
        for slot in self._slots:
            if peer in slot.peers and slot.process is not None:
                slot.verdict = "was killed because it broke the shared-memory protocol"
                slot.process.kill()
                return True
        return False

    def overdue(self, peer: int) -> None:
        """Kills the process that the peer belongs to, if it is ours: its execute does not end."""
        for slot in self._slots:
            if peer in slot.peers and slot.process is not None and not slot.verdict:
                slot.verdict = (
                    f"did not finish execute within {self.limits.execute_s:g} s and was killed"
                )
                log.error("%s %s", self._who(slot), slot.verdict)
                slot.process.kill()

    # --- one slot: fill it, empty it, fill it again ---

    async def _fill(self, slot: ProcessSlot, *, prepare: bool) -> None:
        process = slot.process
        assert process is not None
        slot.filling = True
        try:
            if prepare:
                await process.prepare(self._model | {"auto_complete": False})
            regions = self._attach(slot, process)
            await self._env.directory.join(Side.INSTANCE, process, regions, self.name)
            await process.load(self._config)
            self._must_live(slot, process)
            if self._samples:
                await self._warm_up(slot, process)
            await process.join()
            self._must_live(slot, process)
            for peer, instance in zip(slot.peers, slot.instances, strict=True):
                self._env.engine.add_instance(self.handle, peer, instance.index)
        finally:
            slot.filling = False

    def _must_live(self, slot: ProcessSlot, process: InstanceProcess) -> None:
        if slot.process is not process:
            raise InternalError(f"instance '{slot.name}' {process.end} right after it loaded")

    async def _warm_up(self, slot: ProcessSlot, process: InstanceProcess) -> None:
        """Runs all samples in each of the slot's instances. A death ends it as an error does."""
        began_s = time.monotonic()
        log.info("warming up '%s' version %d: %s", self.name, self.version, slot.name)
        slot.warming = True
        try:
            for peer in list(slot.peers):
                for sample in self._samples:
                    await self._run_sample(peer, sample)
                    self._must_live(slot, process)
        finally:
            slot.warming = False
        log.info(
            "warmed up '%s' version %d: %s in %.2f s",
            self.name,
            self.version,
            slot.name,
            time.monotonic() - began_s,
        )

    async def _run_sample(self, peer: int, sample: Sample) -> None:
        for _ in range(sample.count):
            said = await self._env.events.warm_up(self.handle, peer, sample.requests)
            if said:
                raise InvalidArgumentError(f"failed to run warmup sample '{sample.name}': {said}")

    def _attach(self, slot: ProcessSlot, process: InstanceProcess) -> dict[int, int]:
        """Makes a peer for each instance of the slot; their region descriptors by peer."""
        regions: dict[int, int] = {}
        for instance in slot.instances:
            peer, fds = self._env.engine.make_peer("instance", self._env.region_bytes)
            slot.peers.append(peer)
            process.attach(peer, instance.as_message(), fds)
            regions[peer] = fds[3]
            for fd in fds[:3]:
                os.close(fd)
        slot.joined = True
        process.label = self._who(slot)
        return regions

    def _leave(self, slot: ProcessSlot, message: str) -> None:
        """The slot's process is gone: its peers leave the engine and the directory."""
        for peer in slot.peers:
            self._env.engine.retire_peer(peer, message)
        slot.peers = []
        if slot.joined and slot.process is not None:
            self._env.directory.leave(Side.INSTANCE, slot.process)
        slot.joined = False
        slot.process = None

    def _requested(self, process: InstanceProcess, message: Message, fds: list[int]) -> None:
        slot = next((one for one in self._slots if one.process is process), None)
        loading = slot is None or slot.filling
        self._env.calls.heard(self.name, self.handle, loading, process, message, fds)

    def _died(self, process: InstanceProcess) -> None:
        slot = next((one for one in self._slots if one.process is process), None)
        if slot is None:
            return  # it died before it had a place: whoever asked it something is told
        verdict, slot.verdict = slot.verdict, ""
        end = verdict or str(process.end)
        text = f"{self._who(slot)} {end}"
        log.error("%s", text)
        slot.last_end = end
        self._leave(slot, f"{text} while it executed the request")
        if slot.filling:
            return
        if self._stopping:
            if not any(one.joined for one in self._slots):
                self._env.engine.abort_model(self.handle, text)  # nobody is left to drain it
            return
        self._restart_later(
            slot,
            lived_s=time.monotonic() - process.started_s,
            killed_from_outside=not verdict and process.killed_from_outside,
        )

    def _restart_later(
        self, slot: ProcessSlot, *, lived_s: float = 0.0, killed_from_outside: bool = False
    ) -> None:
        delay_s = slot.restarts.delay_after_death(
            lived_s=lived_s, now_s=time.monotonic(), killed_from_outside=killed_from_outside
        )
        if delay_s is None:
            self._give_up(
                f"instance '{slot.name}' ended {CRASH_LOOP_COUNT} times within"
                f" {CRASH_LOOP_WITHIN_S:g} s; the last time it {slot.last_end}"
            )
            return
        task = self._env.loop.create_task(self._restart(slot, delay_s))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _restart(self, slot: ProcessSlot, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        began_s = time.monotonic()
        try:
            await self.source.ready()
        except ServerError as error:
            slot.last_end = str(error)
            log.error("%s could not be started again: %s", self._who(slot), error)
            self._restart_later(slot)
            return
        process = slot.process = self.open_process()
        slot.restart_count += 1
        who = self._who(slot)
        try:
            await within(self.limits.load_s, self._fill(slot, prepare=True))
        except asyncio.CancelledError:
            await self._take_back(slot, process, self._end_text)
            raise
        except Exception as error:  # whatever it is, the slot must not stay empty
            log.error("%s could not be started again: %s", who, error)
            if not process.died:
                slot.last_end = f"failed to load: {error}"
            await self._take_back(slot, process, slot.last_end)
            if not self._stopping:
                outside = process.died and process.killed_from_outside
                self._restart_later(slot, killed_from_outside=outside)
        else:
            log.info("%s runs again after %.2f s", who, time.monotonic() - began_s)

    async def _take_back(self, slot: ProcessSlot, process: InstanceProcess, message: str) -> None:
        if slot.process is process:
            self._leave(slot, message)
        if process.alive:
            await process.discard()

    def _give_up(self, reason: str) -> None:
        self._stopping = True
        self._end_text = reason
        log.error("model '%s' version %d is given up: %s", self.name, self.version, reason)
        self._on_broken(reason)
