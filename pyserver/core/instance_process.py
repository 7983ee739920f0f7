"""The conversation with one instance process, from its start to its end.

    prepare -> prepared        it has imported its backend, and completed the model's config
    attach, region -> region_ok, load -> loaded        it can execute
    join -> joined        it has done what it does before it takes traffic
    stop        it finishes what runs, finalizes and exits

Every step may be answered by "failed", and the process may die at any time: both are errors here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyserver.control.channel import AsyncControlSocket, Message
from pyserver.core.instance_output import InstanceOutput
from pyserver.core.supervisor_link import ProcessEnd, Spawned, SupervisorLink
from pyserver.errors import InternalError, make_error

log = logging.getLogger(__name__)
_model_log = logging.getLogger("pyserver.model")

# After its control socket closed, the supervisor tells within this time how the process ended.
_CAUSE_WITHIN_S = 2.0
# Triton's time for a model's is_ready.
READY_WITHIN_S = 5.0


class InstanceDied(InternalError):
    """The process ended before it answered."""


class InstanceProcess:
    """One process that holds one or more instances of one model version, or their template.

    `spawn(name, output_fd)` starts it, or has it forked: SupervisorLink.spawn if it is not given.

    `on_death(process)` comes once, when the process has ended without `stop` having been called.
    `on_request(process, message, fds)` hears what it asks or counts by itself, and owns the fds;
    `on_meet(process, message)` whenever its model wants to call another one for the first time.
    """

    def __init__(
        self,
        link: SupervisorLink,
        loop: asyncio.AbstractEventLoop,
        name: str,
        *,
        on_death: Callable[[InstanceProcess], None],
        on_request: Callable[[InstanceProcess, Message, list[int]], None],
        spawn: Callable[[str, int], Spawned] | None = None,
        on_meet: Callable[[InstanceProcess, Message], None] | None = None,
    ) -> None:
        self.name = name
        self.started_s = time.monotonic()
        self.end: ProcessEnd | None = None
        self._link = link
        self._loop = loop
        self._on_death = on_death
        self._on_request = on_request
        self._on_meet = on_meet
        self._settling: list[asyncio.Future[None]] = []
        self._tells_readiness = False
        self._readiness: asyncio.Future[bool] | None = None  # asked, and not answered yet
        self._readiness_late = False
        self._stopping = False
        self._answer: tuple[str, asyncio.Future[Message]] | None = None
        self._regions: dict[int, asyncio.Future[None]] = {}
        self._ended: asyncio.Future[None] = loop.create_future()
        self.label = f"model '{name}'"  # how the log names it; more exact once it has instances
        self._output = InstanceOutput(loop, lambda line: log.info("%s: %s", self.label, line))
        if spawn is None:
            self._spawned = link.spawn(name, output_fd=self._output.write_fd)
        else:
            self._spawned = spawn(name, self._output.write_fd)
        self._output.passed_on()
        self._control = AsyncControlSocket(
            self._spawned.control_fd,
            loop,
            on_message=self._received,
            on_closed=self._control_closed,
        )
        self._spawned.end.add_done_callback(lambda end: self._process_ended(end.result()))

    def __str__(self) -> str:
        return f"instance process '{self.name}' (pid {self.pid})"

    @property
    def pid(self) -> int:
        return self._spawned.pid

    @property
    def died(self) -> bool:
        """Ended by itself or by others, not by `stop` or `discard`."""
        return self.end is not None and not self._stopping

    @property
    def killed_from_outside(self) -> bool:
        return self.end is not None and self.end.killed_from_outside

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done when it has ended, and everything that it said has been heard."""
        return self._ended

    @property
    def alive(self) -> bool:
        return self.end is None

    async def preload(self, model: Mapping[str, Any]) -> None:
        """Makes it a template: it imports the model, and forks instances from then on."""
        await self._ask({"op": "preload", "model": dict(model)}, "preloaded")

    async def prepare(self, model: Mapping[str, Any]) -> dict[str, Any] | None:
        """Imports the backend; returns what the model itself adds to its config, if asked."""
        answer = await self._ask({"op": "prepare", "model": dict(model)}, "prepared")
        completion = answer.get("completion")
        return completion if isinstance(completion, dict) else None

    def attach(self, peer: int, instance: Mapping[str, Any], fds: Sequence[int]) -> None:
        """Gives it the channel and region of one of its instances; `fds` stay the caller's."""
        self._control.send({"op": "attach", "peer": peer, "instance": dict(instance)}, fds)

    async def load(self, config: str) -> None:
        """Loads the model with its final config (protobuf JSON) and begins to take batches."""
        answer = await self._ask({"op": "load", "config": config}, "loaded")
        self._tells_readiness = bool(answer.get("readiness"))

    async def join(self) -> None:
        """Before traffic: it loaded at low priority, and is as fast as all others from here on."""
        await self._ask({"op": "join"}, "joined")

    async def is_ready(self) -> bool:
        """What its model says, if it says anything: in time, or it is not ready.

        All who ask meanwhile share one question; while a late one is open, the answer is no.
        """
        if not self.alive or self._readiness_late:
            return False
        if not self._tells_readiness:
            return True
        if self._readiness is None:
            self._readiness = self._loop.create_future()
            self._control.send({"op": "is_ready", "id": 0})
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                return await asyncio.shield(self._readiness)
        except TimeoutError:
            self._readiness_late = self._readiness is not None
            log.warning("%s: is_ready did not answer within %g s", self.label, READY_WITHIN_S)
            return False

    def answer(self, message: Message, fds: Sequence[int] = ()) -> None:
        """To what it has asked by itself; nobody hears it when it has ended."""
        self._control.send(message, fds)

    def set_verbosity(self, level: int) -> None:
        """What --log-verbose is now: it need not send us what nobody wants to read."""
        self._control.send({"op": "verbosity", "level": level})

    def introduce_region(self, peer: int, fd: int) -> asyncio.Future[None]:
        confirmed = self._loop.create_future()
        if self.alive:
            self._regions[peer] = confirmed
            self._control.send({"op": "region", "peer": peer}, [fd])
        else:
            confirmed.set_result(None)
        return confirmed

    def retire_region(self, peer: int) -> None:
        self._control.send({"op": "retire", "peer": peer})

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        self._control.send(message, fds)

    async def settle(self) -> None:
        """Returns when it has taken in what was sent before, or is gone."""
        if not self.alive:
            return
        settled: asyncio.Future[None] = self._loop.create_future()
        self._settling.append(settled)
        self._control.send({"op": "settle"})
        await settled

    async def stop(self, timeout_s: float) -> None:
        """Asks it to finish and exit; after half the time by SIGTERM, then by SIGKILL."""
        self._stopping = True
        self._control.send({"op": "stop"})
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                async with asyncio.timeout(timeout_s / 2):
                    await asyncio.shield(self._ended)
                return
            except TimeoutError:
                log.warning("%s does not end: sending %s", self, number.name)
                self._link.kill(self._spawned.key, number)
        await asyncio.shield(self._ended)

    def kill(self) -> None:
        """Ends it now; `on_death` follows unless it is being stopped."""
        self._link.kill(self._spawned.key, signal.SIGKILL)

    async def discard(self) -> None:
        """Ends a process that failed to load; nobody hears of its end."""
        self._stopping = True
        self.kill()
        await asyncio.shield(self._ended)

    async def _ask(self, message: Message, wanted: str) -> Message:
        if not self.alive:
            raise InstanceDied(self._death_text())
        future: asyncio.Future[Message] = self._loop.create_future()
        self._answer = (wanted, future)
        self._control.send(message)
        try:
            return await future
        finally:
            self._answer = None

    def _received(self, message: Message, fds: list[int]) -> None:
        op = message["op"]
        if op in ("call", "metrics", "forked", "fork_failed"):
            self._on_request(self, message, fds)
            return
        for fd in fds:
            os.close(fd)
        if op == "log":
            self._log(message)
        elif op == "region_ok":
            confirmed = self._regions.pop(int(message.get("peer", -1)), None)
            if confirmed is not None and not confirmed.done():
                confirmed.set_result(None)
        elif op == "ready":
            self._told_readiness(bool(message.get("ready")))
        elif op == "settled":
            self._settled(self._settling[:1])
        elif op == "meet" and self._on_meet is not None:
            self._on_meet(self, message)
        elif self._answer is None or self._answer[1].done():
            log.warning("%s said '%s' without having been asked", self, op)
        elif op == "failed":
            code = message.get("code")
            text = str(message.get("message", "it did not say why"))
            error = make_error(code if isinstance(code, int) else 1, text)
            self._answer[1].set_exception(error)
        elif op == self._answer[0]:
            self._answer[1].set_result(message)

    def _told_readiness(self, ready: bool) -> None:
        asked, self._readiness = self._readiness, None
        self._readiness_late = False
        if asked is not None and not asked.done():
            asked.set_result(ready)

    def _log(self, message: Message) -> None:
        """A record of its own log, with its process and its place in the source."""
        level = int(message.get("level", logging.INFO))
        if not _model_log.isEnabledFor(level):
            return
        record = _model_log.makeRecord(
            _model_log.name,
            level,
            str(message.get("file", "")),
            int(message.get("line", 0)),
            "%s",
            (str(message.get("text", "")),),
            None,
            extra={"role": "instance"},
        )
        record.process = self.pid
        record.created = float(message.get("created", record.created))
        _model_log.handle(record)

    def _settled(self, waiting: Sequence[asyncio.Future[None]]) -> None:
        del self._settling[: len(waiting)]
        for settled in waiting:
            if not settled.done():
                settled.set_result(None)

    def _control_closed(self) -> None:
        # How it ended is the supervisor's to tell; a process that closed its socket is useless.
        self._loop.call_later(_CAUSE_WITHIN_S, self._end_silently)

    def _end_silently(self) -> None:
        if self.end is None:
            self.kill()

    def _process_ended(self, end: ProcessEnd) -> None:
        self.end = end
        self._control.drain()  # its last words
        self._control.close()
        self._output.finish()
        for confirmed in self._regions.values():
            if not confirmed.done():
                confirmed.set_result(None)
        self._regions.clear()
        self._told_readiness(False)
        self._settled(list(self._settling))
        if self._answer is not None and not self._answer[1].done():
            self._answer[1].set_exception(InstanceDied(self._death_text()))
        self._ended.set_result(None)
        if not self._stopping:
            self._on_death(self)

    def _death_text(self) -> str:
        return f"the process of instance '{self.name}' {self.end}"
