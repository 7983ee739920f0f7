"""A process that imports a model once and forks its instances: they share what it has loaded, page
by page, until one of them writes there.

It has one thread, since no other would live in a fork. An instance is forked twice over, so that
the supervisor, which is a subreaper, becomes its parent: the template may die without it.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyserver._core import end_with_parent
from pyserver.backends import backend_info
from pyserver.backends.interface import Backend, ModelInfo, Preloads, make_backend
from pyserver.control.channel import ControlSocket
from pyserver.errors import InternalError, InvalidArgumentError, NotFoundError, ServerError
from pyserver.instance.process import set_name
from pyserver.observe.log import set_verbosity

log = logging.getLogger(__name__)

Message = dict[str, Any]

_THREADS: Final = Path("/proc/self/task")
# A thread that was joined may be listed for a moment longer.
_LOOKS, _LOOK_EVERY_S = 10, 0.02


@dataclass(frozen=True, slots=True)
class Forked:
    """What an instance begins with: its own control socket, and the model, imported."""

    control: ControlSocket
    backend: Backend


class Template:
    """The conversation with core, which says "preload" first. `supervisor` is our parent's pid."""

    def __init__(self, control: ControlSocket, supervisor: int) -> None:
        self._control = control
        self._supervisor = supervisor
        self._backend: Backend | None = None

    def run(self, first: Message) -> Forked | None:
        """Until core says stop: None. Returns in each instance too, with what it has.

        Raises ControlClosed when core is gone.
        """
        self._answer_preload(first)
        while True:
            message, fds = self._control.receive()
            op = message["op"]
            if op == "fork" and len(fds) == 2:
                forked = self._fork(message, fds)
                if forked is not None:
                    return forked
            elif op == "verbosity":
                set_verbosity(int(message["level"]))
            elif op == "stop":
                return None
            for fd in fds:
                os.close(fd)

    def _answer_preload(self, message: Message) -> None:
        try:
            self._preload(message["model"])
        except ServerError as error:
            answer: Message = {"op": "failed", "message": str(error), "code": error.code}
        except Exception as error:  # a bug of ours or of a framework
            log.exception("loading what instances share failed")
            text = f"{type(error).__name__}: {error}"
            answer = {"op": "failed", "message": text, "code": InternalError.code}
        else:
            answer = {"op": "preloaded"}
        self._control.send(answer)

    def _preload(self, told: Message) -> None:
        model = ModelInfo.from_message(told)
        set_name(f"pt-{model.name}")
        set_verbosity(int((told.get("settings") or {}).get("log_verbose", 0)))
        info = backend_info(str(told["backend"]))
        if info is None:
            raise NotFoundError(f"there is no backend '{told['backend']}'")
        backend = make_backend(info)
        if not isinstance(backend, Preloads):
            raise InternalError(f"backend '{info.name}' has nothing that instances could share")
        backend.preload(model)
        _refuse_threads(model.name)
        self._backend = backend
        # A collection in an instance would write into every object that it looks at.
        gc.collect()
        gc.freeze()

    def _fork(self, message: Message, fds: Sequence[int]) -> Forked | None:
        """None in the template, which has told core of the process then, or why there is none."""
        key = message["key"]
        sys.stdout.flush()  # or the instance would say it again
        told_read, told_write = os.pipe()
        gate_read, gate_write = os.pipe()
        try:
            pid = self._fork_twice(told_write)
        except OSError as error:
            for fd in (told_read, told_write, gate_read, gate_write):
                os.close(fd)
            why = f"cannot fork: {error.strerror}"
            self._control.send({"op": "fork_failed", "key": key, "message": why})
            return None
        if pid == 0:
            for fd in (told_read, told_write, gate_write):
                os.close(fd)
            return self._become_instance(message, fds, gate_read)
        os.close(told_write)
        os.close(gate_read)
        told = os.read(told_read, 32)
        os.close(told_read)
        os.waitpid(pid, 0)
        os.close(gate_write)  # the instance has its parent now, and may look
        if told:
            self._control.send({"op": "forked", "key": key, "pid": int(told)})
        else:
            why = "cannot fork a second time"
            self._control.send({"op": "fork_failed", "key": key, "message": why})
        return None

    def _fork_twice(self, told: int) -> int:
        """0 in the instance; in the template the process between them, which ends by itself after
        it has told the instance's number.
        """
        pid = os.fork()
        if pid:
            return pid
        try:
            pid = os.fork()
            if pid == 0:
                return 0
            os.write(told, str(pid).encode())
        except OSError:
            os._exit(1)
        os._exit(0)

    def _become_instance(self, message: Message, fds: Sequence[int], gate: int) -> Forked:
        os.setsid()  # as one that is not forked: in a group and a session of its own
        control_fd, output_fd = fds
        self._control.close()
        for stream in (1, 2):
            os.dup2(output_fd, stream)
        os.close(output_fd)
        os.read(gate, 1)  # closed by the template when the process between has ended
        os.close(gate)
        if not end_with_parent("ps-instance", self._supervisor):
            os._exit(1)  # everybody has gone meanwhile
        for name, value in message["variables"].items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        assert self._backend is not None
        return Forked(ControlSocket(control_fd), self._backend)


def _refuse_threads(model: str) -> None:
    """Raises InvalidArgumentError unless this is the only thread."""
    for _ in range(_LOOKS):
        names = _other_threads()
        if not names:
            return
        time.sleep(_LOOK_EVERY_S)
    raise InvalidArgumentError(
        f"model '{model}' has fork_instances, but its import or its preload has started"
        f" {len(names)} threads ({', '.join(sorted(set(names)))}), which would be missing in forked"
        " instances. Libraries take one thread here (OMP_NUM_THREADS, OPENBLAS_NUM_THREADS and"
        " MKL_NUM_THREADS are 1); do not ask them for more, and start threads in initialize"
    )


def _other_threads() -> list[str]:
    """Their names: Python's, or the kernel's for those of libraries."""
    by_number = {one.native_id: one.name for one in threading.enumerate()}
    names = []
    for task in _THREADS.iterdir():
        if int(task.name) != os.getpid():
            try:
                comm = (task / "comm").read_text().strip()
                names.append(by_number.get(int(task.name), comm))
            except OSError:
                pass  # it has ended
    return names
