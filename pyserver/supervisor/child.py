"""One child process: started by its role's dotted name, watched by pidfd, spoken to by messages.

A child has its own process group (Ctrl-C in a terminal reaches the supervisor alone). It asks the
kernel to be killed with its parent, and exits when its control socket closes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyserver
from pyserver.control.channel import ControlClosed, ControlSocket, pair
from pyserver.supervisor.adopted import AdoptedProcess
from pyserver.supervisor.loop import Loop
from pyserver.supervisor.memory_kills import memory_kills

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended. `signal` or `exit_code` is None."""

    signal: int | None
    exit_code: int | None
    out_of_memory: bool

    @property
    def killed(self) -> bool:
        """By somebody's SIGKILL: no fault of its own, nor the kernel's for want of memory."""
        return self.signal == signal.SIGKILL and not self.out_of_memory

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit code {self.exit_code}"
        try:
            name = signal.Signals(self.signal).name
        except ValueError:
            name = "unknown"
        cause = ", probably out of memory" if self.out_of_memory else ""
        return f"signal {self.signal} ({name}{cause})"


class Child:
    """A running process. `on_end(how)` comes once, from the loop, after its last message."""

    def __init__(
        self,
        loop: Loop,
        name: str,
        module: str,
        *,
        control_fd: int | None = None,
        output_fd: int | None = None,
        program: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        adopted_pid: int | None = None,
        own_session: bool = False,
        on_message: Callable[[Message, list[int]], None] | None = None,
        on_end: Callable[[Ended], None],
    ) -> None:
        """Starts `python -m module --control-fd=N`; OSError when that cannot be done.

        With `control_fd` the child gets that descriptor, which stays the caller's, and speaks with
        somebody else; without, it speaks with us: `on_message(message, fds)` borrows the
        descriptors, which are closed when it returns. `output_fd` becomes its stdout and stderr.
        `program` takes the place of `python -m module`: an interpreter of a model's own. With
        `adopted_pid` nothing is started: it is that process, which speaks with somebody else.
        In a session of its own, it does not use up our share of the processors (autogroups).
        """
        self.name = name
        self.started_s = loop.now()
        self._loop = loop
        self._on_message = on_message
        self._on_end = on_end
        self._killed = False
        self._waiting: deque[tuple[Message, list[int]]] = deque()
        self._control: ControlSocket | None = None
        theirs: ControlSocket | None = None
        if control_fd is None and adopted_pid is None:
            self._control, theirs = pair()
            control_fd = theirs.fileno()
        try:
            self._memory_kills = memory_kills()
            self._process: subprocess.Popen[bytes] | AdoptedProcess
            if adopted_pid is not None:
                self._process = AdoptedProcess(adopted_pid)
            else:
                assert control_fd is not None
                self._process = _start(
                    program or _command(module),
                    control_fd,
                    output_fd,
                    environment or {},
                    own_session=own_session,
                )
        except OSError:
            if self._control is not None:
                self._control.close()
            raise
        finally:
            if theirs is not None:
                theirs.close()
        self._pidfd = os.pidfd_open(self._process.pid)
        loop.on_readable(self._pidfd, self._exited)
        if self._control is not None:
            self._control.setblocking(False)
            loop.on_readable(self._control.fileno(), self._readable)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once `on_end` has come, or is about to."""
        return self._pidfd >= 0

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Sends, or queues while the child does not read. The caller keeps `fds`."""
        if self._control is None:
            return
        if not self._waiting:
            try:
                self._control.send(message, fds)
                return
            except BlockingIOError:
                self._loop.on_writable(self._control.fileno(), self._writable)
            except ControlClosed:
                return  # its end is told of by the pidfd
        self._waiting.append((message, [os.dup(fd) for fd in fds]))

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal; nothing happens when the process has ended."""
        if not self.alive:
            return
        self._killed = self._killed or number == signal.SIGKILL
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass  # it has ended; the pidfd is readable

    def _readable(self) -> None:
        # A bounded number of messages for each turn, so that one child cannot hold the loop.
        for _ in range(64):
            if not self._receive():
                return

    def _receive(self) -> bool:
        if self._control is None:
            return False
        try:
            message, fds = self._control.receive()
        except BlockingIOError:
            return False
        except ControlClosed:
            self._close_control()
            return False
        except ValueError:
            return True  # not a message; its descriptors are closed already
        if self._on_message is not None:
            self._on_message(message, fds)
        for fd in fds:
            os.close(fd)
        return True

    def _writable(self) -> None:
        while self._waiting and self._control is not None:
            message, fds = self._waiting[0]
            try:
                self._control.send(message, fds)
            except BlockingIOError:
                return
            except ControlClosed:
                break
            self._waiting.popleft()
            for fd in fds:
                os.close(fd)
        self._drop_waiting()
        if self._control is not None:
            self._loop.on_writable(self._control.fileno(), None)

    def _exited(self) -> None:
        # What it has started or forked ends with it. Its number is not given to others before we
        # have taken its exit code.
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # nothing is left of its group
        code = self._process.poll()
        if code is None:
            return
        # Its last words (why it gave up) come before the news of its end.
        while self._receive():
            pass
        self._close_control()
        self._loop.forget(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        by_kernel = code == -signal.SIGKILL and not self._killed
        # Who hears of it knows this object: let go, or only the collector would find the two.
        on_end, self._on_end, self._on_message = self._on_end, _nobody, None
        on_end(
            Ended(
                signal=-code if code < 0 else None,
                exit_code=code if code >= 0 else None,
                out_of_memory=by_kernel and memory_kills() > self._memory_kills,
            )
        )

    def _close_control(self) -> None:
        if self._control is not None:
            self._loop.forget(self._control.fileno())
            self._control.close()
            self._control = None
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        for _, fds in self._waiting:
            for fd in fds:
                os.close(fd)
        self._waiting.clear()


def _nobody(_: Ended) -> None:
    pass


def _command(module: str) -> list[str]:
    # -P: the folder that the server was started in must not hide installed packages.
    return [sys.executable, "-P", "-m", module]


def _start(
    command: Sequence[str],
    control_fd: int,
    output_fd: int | None,
    environment: Mapping[str, str],
    *,
    own_session: bool,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*command, f"--control-fd={control_fd}"],
        stdin=subprocess.DEVNULL,
        stdout=output_fd,
        stderr=output_fd,
        pass_fds=(control_fd,),
        process_group=None if own_session else 0,  # a session's first is the first of a group too
        start_new_session=own_session,
        env={**os.environ, **_path_to_ourselves(), **environment},
    )


def _path_to_ourselves() -> dict[str, str]:
    """PYTHONPATH for a child of a server that runs from a folder that is not installed."""
    root = Path(pyserver.__file__).resolve().parent.parent
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    if root in installed:
        return {}
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{root}{os.pathsep}{before}" if before else str(root)}
