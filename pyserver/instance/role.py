"""The conversation with core, and the threads that execute.

    prepare -> prepared            the backend is imported, the model has described itself
    attach, region -> region_ok    our channels, and everybody's memory
    load -> loaded                 the model is there, its instances take batches: of warm-up first
    join -> joined                 now traffic comes, which we serve at full priority
    call -> model ..., met         the model wants to call another one; from then on we hear of all
    stop                           finish what runs, finalize, exit
    is_ready -> ready              what the model says, from a thread of its own

By itself it says: log, metrics, and call -> answer (a model loads another).

A thread reads the control socket all the time, so that regions come and go while a model executes;
what takes long (prepare, load) happens in the main thread, and so does the execution of a backend
whose instances do not share a process. The end of the control socket ends the process at once:
core is gone, and nobody is left to answer to.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pyserver._core import Executor, PeerRegions
from pyserver.backends import BackendInfo, backend_info
from pyserver.backends.interface import (
    AsksServer,
    Backend,
    Instance,
    InstanceInfo,
    LoadedModel,
    ModelInfo,
    TellsReadiness,
    make_backend,
)
from pyserver.control.channel import ControlClosed, ControlSocket
from pyserver.errors import InternalError, NotFoundError, ServerError
from pyserver.instance.calls import CoreCalls
from pyserver.instance.controls import control_tensors
from pyserver.instance.introductions import Introductions
from pyserver.instance.process import set_name
from pyserver.instance.readiness import Readiness
from pyserver.instance.states import state_tensors
from pyserver.observe.log import set_verbosity

log = logging.getLogger(__name__)

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Attached:
    """An instance that core has made a channel for."""

    info: InstanceInfo
    fds: tuple[int, ...]  # rings, core's doorbell, ours, region


@dataclass(frozen=True, slots=True)
class _Running:
    name: str
    instance: Instance
    executor: Executor


class InstanceRole:
    """One process's whole life. `run` belongs to the main thread."""

    def __init__(
        self,
        control: ControlSocket,
        leave: Callable[[int], None] = os._exit,
        *,
        before_traffic: Callable[[], None] = lambda: None,
        preloaded: Backend | None = None,
    ) -> None:
        """`preloaded`: a template has made the backend, and imported the model."""
        self._control = control
        self._leave = leave
        self._before_traffic = before_traffic
        self._preloaded = preloaded
        self._send_lock = threading.Lock()
        self._regions = PeerRegions()
        self._calls = CoreCalls(self.send)
        self._readiness = Readiness(self.send)
        self._introductions = Introductions(self.send)
        # Requests of core that the main thread answers, in order.
        self._work: queue.SimpleQueue[tuple[Message, list[int]]] = queue.SimpleQueue()
        self._info: BackendInfo | None = None
        self._backend: Backend | None = None
        self._model: ModelInfo | None = None
        self._max_unread = 0  # responses of one request; 0: the native default
        self._loaded: LoadedModel | None = None
        self._attached: list[_Attached] = []
        self._running: list[_Running] = []
        self._threads: list[threading.Thread] = []
        self._stopping = False

    def run(self, first: tuple[Message, list[int]]) -> None:
        """From core's first message until it says stop. Returns when everything is finished and
        finalized.
        """
        self._receive(*first)
        threading.Thread(target=self._read, name="control", daemon=True).start()
        while not self._stopping:
            message, fds = self._work.get()
            self._handle(message, fds)
        for thread in self._threads:
            thread.join()
        for running in self._running:
            self._finalize(running)

    # --- the reading thread ---

    def _read(self) -> None:
        try:
            while True:
                message, fds = self._control.receive()
                self._receive(message, fds)
        except ControlClosed:
            self._leave(1)
        except Exception:
            log.exception("a control message could not be read")
            self._leave(1)

    def _receive(self, message: Message, fds: list[int]) -> None:
        op = message["op"]
        if op == "region":
            self._regions.add(message["peer"], fds[0])
            _close(fds)
            self.send({"op": "region_ok", "peer": message["peer"]})
        elif op == "retire":
            self._regions.retire(message["peer"])
        elif op == "answer":
            self._calls.answered(message, fds)
        elif op == "is_ready":
            self._readiness.ask(message["id"])
        elif op == "join":
            self._before_traffic()
            self.send({"op": "joined"})
        elif op == "verbosity":
            set_verbosity(int(message["level"]))
        elif not self._introductions.receive(message):
            if op == "stop":
                self._stop_executors()
            self._work.put((message, fds))

    def _stop_executors(self) -> None:
        self._stopping = True
        for running in list(self._running):
            running.executor.stop()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """To core; from any thread."""
        with self._send_lock:
            self._control.send(message, fds)

    # --- the main thread ---

    def _handle(self, message: Message, fds: list[int]) -> None:
        op = message["op"]
        if op == "attach":
            self._attached.append(
                _Attached(InstanceInfo.from_message(message["instance"]), tuple(fds))
            )
            return
        _close(fds)
        if op == "prepare":
            self._answer(lambda: self._prepare(message["model"]))
        elif op == "load":
            if self._answer(lambda: self._load(message["config"])):
                self._execute()
        elif op != "stop":
            log.warning("core sent an unknown message: %s", op)

    def _answer(self, work: Callable[[], Message]) -> bool:
        """Sends what `work` returns, or why it failed."""
        try:
            answer = work()
        except ServerError as error:
            self.send({"op": "failed", "message": str(error), "code": error.code})
        except Exception as error:  # a bug of ours or of a framework: core must know at once
            log.exception("loading failed")
            text = f"{type(error).__name__}: {error}"
            self.send({"op": "failed", "message": text, "code": InternalError.code})
        else:
            self.send(answer)
            return True
        return False

    def _prepare(self, message: Message) -> Message:
        model = ModelInfo.from_message(message)
        set_name(f"ps-{model.name}")
        settings = message.get("settings") or {}
        self._max_unread = int(settings.get("grpc_max_response_pool_size", 0))
        set_verbosity(int(settings.get("log_verbose", 0)))
        info = backend_info(str(message["backend"]))
        if info is None:
            raise NotFoundError(f"there is no backend '{message['backend']}'")
        self._info, self._model = info, model
        self._backend = self._preloaded or make_backend(info)
        if isinstance(self._backend, AsksServer):
            self._backend.connect(self._calls)
        completion = self._backend.describe(model) if message.get("auto_complete", True) else None
        return {"op": "prepared", "completion": completion}

    def _load(self, config: str) -> Message:
        if self._backend is None or self._model is None:
            raise InternalError("core asked to load a model that it did not prepare")
        self._model = self._model.with_config(config)
        self._loaded = self._backend.load(self._model)
        for attached in self._attached:
            self._running.append(self._make_instance(self._model, self._loaded, attached))
        self._attached.clear()
        if self._stopping:  # core changed its mind meanwhile, and saw only some of them
            self._stop_executors()
        hooks = [
            one.instance.is_ready
            for one in self._running
            if isinstance(one.instance, TellsReadiness) and one.instance.has_readiness
        ]
        self._readiness.open(hooks)
        return {"op": "loaded", "readiness": bool(hooks)}

    def _make_instance(
        self, model: ModelInfo, loaded: LoadedModel, attached: _Attached
    ) -> _Running:
        executor = Executor(
            list(attached.fds),
            self._regions,
            os.fstat(attached.fds[-1]).st_size,
            attached.info.name,
            model.output_names,
            model.decoupled,
            self._max_unread,
        )
        _close(list(attached.fds))
        if self._info is not None and self._info.may_call:
            executor.allow_calls(self._introductions.callees)
        controls = control_tensors(model.config)
        if controls:
            executor.set_controls(controls, model.max_batch_size > 0)
        states = state_tensors(model.config, model.model_dir)
        if states:
            executor.set_states(states)
        instance = loaded.make_instance(attached.info)
        return _Running(attached.info.name, instance, executor)

    def _execute(self) -> None:
        assert self._info is not None
        if not self._info.threads_share_process:
            for running in self._running:
                self._run_instance(running)
            return
        for running in self._running:
            thread = threading.Thread(
                target=self._run_instance, args=(running,), name=running.name[:15]
            )
            self._threads.append(thread)
            thread.start()

    def _run_instance(self, running: _Running) -> None:
        try:
            running.instance.run(running.executor)
        except Exception:
            log.exception("instance '%s' cannot go on", running.name)
            self._leave(1)

    def _finalize(self, running: _Running) -> None:
        try:
            running.instance.finalize()
        except Exception:
            log.exception("finalize of instance '%s' failed", running.name)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
