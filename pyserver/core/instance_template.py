"""The process that imports a model once and forks its instances, which share what it has loaded.

    preload -> preloaded        it has imported the model, and run its `preload`
    fork (+ control socket, + pipe for output) -> forked or fork_failed

An instance so forked is the supervisor's child like any other. Should the template die, what it has
forked lives on, and the next one is forked by a successor.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from pyserver.control.channel import Message
from pyserver.core.backoff import RestartPolicy
from pyserver.core.instance_process import InstanceProcess
from pyserver.core.model_environment import PythonEnvironment
from pyserver.core.runtime_threads import ONE_THREAD, THREAD_VARIABLES
from pyserver.core.supervisor_link import Spawned, SupervisorLink
from pyserver.errors import InternalError, ServerError

log = logging.getLogger(__name__)


class InstanceTemplate:
    """One version's template, whichever process it is at the moment. `model` is what "prepare"
    tells of the model; `python` how its instances are started where nothing is forked.
    """

    def __init__(
        self,
        link: SupervisorLink,
        loop: asyncio.AbstractEventLoop,
        name: str,
        *,
        model: Mapping[str, Any],
        python: PythonEnvironment,
        on_request: Callable[[InstanceProcess, Message, list[int]], None],
    ) -> None:
        self._link = link
        self._loop = loop
        self._name = f"{name} template"
        self._model = dict(model)
        self._python = python
        self._on_request = on_request
        self._process: InstanceProcess | None = None
        self._starting: asyncio.Task[None] | None = None
        self._restarts = RestartPolicy()
        self._expected: set[str] = set()  # keys of what it is to fork
        self._failure = "it has ended"
        self._stopping = False

    @property
    def pid(self) -> int:
        """0 while there is none."""
        return self._process.pid if self._process is not None else 0

    async def ready(self) -> None:
        """Returns when there is a process to fork from. Raises a ServerError when it cannot be."""
        if self._starting is None and self._process is None:
            self._starting = self._loop.create_task(self._start())
        if self._starting is not None:
            await asyncio.shield(self._starting)
        if self._process is None:
            raise InternalError(f"there is no {self._name}: {self._failure}")

    def spawn(self, name: str, output_fd: int) -> Spawned:
        """Has an instance forked; for InstanceProcess. After `ready`."""
        spawned, theirs = self._link.expect(name)
        if self._process is None:
            self._loop.call_soon(self._link.give_up, spawned.key, "its template has ended")
        else:
            self._expected.add(spawned.key)
            own = self._python.variables
            variables = {one: own.get(one, os.environ.get(one)) for one in THREAD_VARIABLES}
            self._process.send(
                {"op": "fork", "key": spawned.key, "variables": variables},
                [theirs.fileno(), output_fd],
            )
        theirs.close()
        return spawned

    def set_verbosity(self, level: int) -> None:
        if self._process is not None:
            self._process.set_verbosity(level)

    async def stop(self, timeout_s: float) -> None:
        """Ends it; what it has forked is not its business."""
        process = await self._leave()
        if process is not None:
            await process.stop(timeout_s)

    async def discard(self) -> None:
        """Ends it at once, after a failed load."""
        process = await self._leave()
        if process is not None:
            await process.discard()

    async def _leave(self) -> InstanceProcess | None:
        self._stopping = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        process, self._process = self._process, None
        self._give_up("its template was ended")
        return process

    async def _start(self) -> None:
        process = InstanceProcess(
            self._link,
            self._loop,
            self._name,
            on_death=self._died,
            on_request=self._requested,
            spawn=self._spawn_template,
        )
        try:
            await process.preload(self._model)
        except BaseException:
            if process.alive:
                await process.discard()
            raise
        finally:
            self._starting = None
        self._process = process

    def _spawn_template(self, name: str, output_fd: int) -> Spawned:
        return self._link.spawn(
            name,
            output_fd=output_fd,
            program=self._python.program,
            environment={**self._python.variables, **ONE_THREAD},
            role="template",
        )

    def _requested(self, process: InstanceProcess, message: Message, fds: list[int]) -> None:
        op, key = message["op"], str(message.get("key"))
        if op not in ("forked", "fork_failed"):
            self._on_request(process, message, fds)
            return
        for fd in fds:
            os.close(fd)
        self._expected.discard(key)
        if op == "forked":
            self._link.adopt(key, int(message.get("pid") or 0))
        else:
            self._link.give_up(key, str(message.get("message")))

    def _give_up(self, why: str) -> None:
        for key in self._expected:
            self._link.give_up(key, why)
        self._expected.clear()

    def _died(self, process: InstanceProcess) -> None:
        if self._process is not process:
            return  # while it preloaded: whoever waits for that is told
        log.error("the %s (pid %d) %s", self._name, process.pid, process.end)
        self._process = None
        self._give_up(f"its template {process.end}")
        if self._stopping:
            return
        end = process.end
        delay_s = self._restarts.delay_after_death(
            lived_s=time.monotonic() - process.started_s,
            now_s=time.monotonic(),
            killed_from_outside=end is not None and end.killed_from_outside,
        )
        if delay_s is not None:  # else the next instance that is needed tries again
            self._starting = self._loop.create_task(self._start_again(delay_s))

    async def _start_again(self, delay_s: float) -> None:
        try:
            await asyncio.sleep(delay_s)
            await self._start()
        except ServerError as error:
            self._failure = str(error)
            log.error("the %s could not be started again: %s", self._name, error)
        else:
            log.info("the %s runs again", self._name)
        finally:
            self._starting = None
