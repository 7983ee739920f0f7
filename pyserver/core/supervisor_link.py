"""The conversation with the supervisor: it starts and ends processes for us, and tells of ends."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyserver.control.channel import AsyncControlSocket, ControlSocket, Message, pair

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """How a process ended. `str()` continues a sentence that began with the process's name."""

    pid: int = 0
    signal: int | None = None
    exit_code: int | None = None
    out_of_memory: bool = False
    error: str = ""

    @property
    def killed_from_outside(self) -> bool:
        """SIGKILL, and not by the kernel for want of memory: no process does that to itself."""
        return self.signal == signal.SIGKILL and not self.out_of_memory

    def __str__(self) -> str:
        if self.error:
            return f"could not be started: {self.error}"
        if self.out_of_memory:
            return "was killed by the system because memory ran out"
        if self.signal:
            try:
                name = f" ({signal.Signals(self.signal).name})"
            except ValueError:
                name = ""
            return f"was killed by signal {self.signal}{name}"
        if self.exit_code is not None:
            return f"exited with code {self.exit_code}"
        return "ended"


class Spawned:
    """A process that the supervisor started, or is about to start, for us.

    `control_fd` is our end of its control socket (the taker closes it); `end` is done when it
    ended.
    """

    def __init__(self, key: str, control_fd: int, end: asyncio.Future[ProcessEnd]) -> None:
        self.key = key
        self.control_fd = control_fd
        self.end = end
        self.pid = 0
        self.known = False  # to the supervisor; then it can be killed
        self.killed_with = 0  # before that


class SupervisorLink:
    """Sends what core wants, and hands what the supervisor says to `on_message(message, fds)`.

    Messages about processes that we started are handled here. `on_closed` comes when the supervisor
    is gone.
    """

    def __init__(
        self,
        fd: int,
        loop: asyncio.AbstractEventLoop,
        *,
        on_message: Callable[[Message, list[int]], None],
        on_closed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._on_message = on_message
        self._spawned: dict[str, Spawned] = {}
        self._numbers = itertools.count(1)
        self._control = AsyncControlSocket(fd, loop, on_message=self._received, on_closed=on_closed)

    def send(self, message: Message) -> None:
        self._control.send(message)

    def spawn(
        self,
        name: str,
        *,
        output_fd: int,
        program: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        role: str = "instance",
    ) -> Spawned:
        """Asks for an instance process, or a "template" of them. `name` is for people; the key made
        of it is unique.

        `output_fd`, which stays the caller's, becomes its stdout and stderr. `program` takes the
        place of our own interpreter and the instance role's module.
        """
        spawned, theirs = self.expect(name)
        request: Message = {
            "op": "spawn",
            "key": spawned.key,
            "role": role,
            "env": dict(environment or {}),
        }
        if program is not None:
            request["program"] = list(program)
        self._control.send(request, [theirs.fileno(), output_fd])
        spawned.known = True
        theirs.close()
        return spawned

    def expect(self, name: str) -> tuple[Spawned, ControlSocket]:
        """A process that a template is to fork, and its end of its control socket, which the caller
        closes; `adopt` or `give_up` follows.
        """
        key = f"{name}#{next(self._numbers)}"
        ours, theirs = pair()
        spawned = self._spawned[key] = Spawned(key, ours.detach(), self._loop.create_future())
        return spawned, theirs

    def adopt(self, key: str, pid: int) -> None:
        """It has been forked: from now on the supervisor watches it."""
        spawned = self._spawned.get(key)
        if spawned is None:
            return
        spawned.pid, spawned.known = pid, True
        self._control.send({"op": "adopt", "role": "instance", "key": key, "pid": pid})
        if spawned.killed_with:
            self.kill(key, spawned.killed_with)

    def give_up(self, key: str, error: str) -> None:
        """It will not be forked."""
        self._exited({"key": key, "error": error})

    def kill(self, key: str, number: int = signal.SIGKILL) -> None:
        spawned = self._spawned.get(key)
        if spawned is not None and not spawned.known:
            spawned.killed_with = int(number)
        elif spawned is not None:
            self._control.send({"op": "kill", "key": key, "signal": int(number)})

    def close(self) -> None:
        self._control.close()

    def _received(self, message: Message, fds: list[int]) -> None:
        op = message["op"]
        if op == "spawned":
            spawned = self._spawned.get(str(message.get("key")))
            if spawned is not None:
                spawned.pid = int(message.get("pid") or 0)
        elif op == "exited":
            self._exited(message)
        else:
            self._on_message(message, fds)
            return
        for fd in fds:
            os.close(fd)

    def _exited(self, message: Message) -> None:
        spawned = self._spawned.pop(str(message.get("key")), None)
        if spawned is None or spawned.end.done():
            return
        spawned.end.set_result(
            ProcessEnd(
                pid=int(message.get("pid") or 0),
                signal=message.get("signal"),
                exit_code=message.get("exit_code"),
                out_of_memory=bool(message.get("out_of_memory")),
                error=str(message.get("error") or ""),
            )
        )
