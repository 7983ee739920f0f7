"""The tree of processes: what happens when one starts, speaks, or ends, and how all of them stop.

    STARTING --core is ready--> SERVING --signal--> DRAINING_FRONTENDS --all have answered-->
    DRAINING_CORE --nothing in flight--> STOPPING --all have exited--> the end
    any phase --a second signal, or --exit-timeout-secs is over--> everything is killed, exit code 1

Whatever ends by itself while STARTING or SERVING is started again: frontends and core here (core
decides about its instances). When core ends, its instances end with it, and the frontends, which
live on and answer 503, are introduced to the new one.
"""

from __future__ import annotations

import enum
import logging
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from pyserver.control.channel import pair
from pyserver.settings import Settings
from pyserver.supervisor.adopted import Strays
from pyserver.supervisor.backoff import Backoff
from pyserver.supervisor.child import Child, Ended, Message
from pyserver.supervisor.frontend_place import Frontend
from pyserver.supervisor.instances import TEMPLATE, EndedBefore, exited, make_instance
from pyserver.supervisor.listen import refuse_connections, take_connections
from pyserver.supervisor.loop import Loop
from pyserver.supervisor.summary import models_line, startup_summary

_log = logging.getLogger(__name__)

ROLES: dict[str, str] = {
    "core": "pyserver.core",
    "frontend": "pyserver.frontend",
    "instance": "pyserver.instance",
    TEMPLATE: "pyserver.instance",
}
# As Triton names them when they are up.
SERVICES: dict[str, str] = {"http": "HTTPService", "grpc": "GRPCInferenceService"}
# glibc keeps 7 freed blocks of a size at hand in each thread, and a frontend has a hundred requests
# in flight, each with some thirty small blocks; beyond the 7, malloc was a quarter of its time. An
# administrator's own setting wins.
_FRONTEND_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=256"}
# A role that ends this often before the server was ready once is broken, not unlucky.
STARTS_BEFORE_GIVING_UP = 5
# What a process gets to exit by itself after "stop", however short --exit-timeout-secs is.
LEAST_STOP_S = 2.0


class Phase(enum.Enum):
    """Where the server is in its life; the module's docstring has the picture."""

    STARTING = enum.auto()
    SERVING = enum.auto()
    DRAINING_FRONTENDS = enum.auto()
    DRAINING_CORE = enum.auto()
    STOPPING = enum.auto()
    KILLING = enum.auto()


class Tree:
    """All children of one server. Runs on the loop's thread; `exit_code` is valid at the end."""

    def __init__(
        self,
        settings: Settings,
        loop: Loop,
        sockets: Sequence[Mapping[str, Sequence[socket.socket]]],
        *,
        addresses: Mapping[str, str],
        roles: Mapping[str, str] = ROLES,
    ) -> None:
        self.exit_code = 0
        self.phase = Phase.STARTING
        self._settings = settings
        self._loop = loop
        self._addresses = dict(addresses)
        self._roles = roles
        self._frontends = [Frontend(index, own) for index, own in enumerate(sockets)]
        self._core: Child | None = None
        self._core_backoff = Backoff()
        self._instances: dict[str, Child] = {}
        self._orphans: set[Child] = set()  # instances of a core that has ended, being killed
        self._strays = Strays()
        self._failed_starts: dict[str, int] = {}
        self._started_s = loop.now()
        self._deadline_s: float | None = None  # of the drain and the stop together
        self._announced = False
        self._loaded_models: list[str] = []  # by clients; core tells, for its successor

    # ---- starting ----------------------------------------------------------------------------

    def start(self) -> None:
        """Starts core and the frontends; everything else follows from what they say."""
        self._start_core()
        for frontend in self._frontends:
            self._start_frontend(frontend)

    def _start_core(self) -> None:
        if self.phase not in (Phase.STARTING, Phase.SERVING):
            return
        try:
            self._core = Child(
                self._loop,
                "core",
                self._roles["core"],
                on_message=self._from_core,
                on_end=self._core_ended,
            )
        except OSError as error:
            self._give_up(f"core cannot be started: {error}")
            return
        self._core.send(
            {
                "op": "start",
                "settings": self._settings.to_dict(),
                "addresses": self._addresses,
                # A core that takes over loads what its predecessor had, and does not give up.
                "again": self.phase is Phase.SERVING,
                "models": self._loaded_models,
            }
        )
        for frontend in self._frontends:
            self._introduce(frontend)

    def _start_frontend(self, frontend: Frontend) -> None:
        if self.phase not in (Phase.STARTING, Phase.SERVING):
            return
        try:
            child = Child(
                self._loop,
                f"frontend {frontend.index}",
                self._roles["frontend"],
                environment={**_FRONTEND_ENVIRONMENT, **os.environ},
                on_message=lambda message, fds: self._from_frontend(frontend, message),
                on_end=lambda how: self._frontend_ended(frontend, how),
            )
        except OSError as error:
            self._give_up(f"frontend {frontend.index} cannot be started: {error}")
            return
        frontend.child = child
        child.send(
            {
                "op": "start",
                "settings": self._settings.to_dict(),
                "index": frontend.index,
                "protocols": frontend.protocols,
            },
            [one.fileno() for one in frontend.sockets],
        )
        self._introduce(frontend)

    def _introduce(self, frontend: Frontend) -> None:
        """Gives a frontend and core, where both live, the two ends of a fresh socket."""
        if self._core is None or frontend.child is None:
            return
        cores, frontends = pair()
        self._core.send({"op": "frontend", "index": frontend.index}, [cores.fileno()])
        frontend.child.send({"op": "core"}, [frontends.fileno()])
        cores.close()
        frontends.close()

    # ---- what children say -------------------------------------------------------------------

    def _from_core(self, message: Message, fds: list[int]) -> None:
        match message["op"]:
            case "spawn" | "adopt" if fds or message["op"] == "adopt":
                self._spawn(str(message.get("key")), message, fds)
            case "kill":
                instance = self._instances.get(str(message.get("key")))
                if instance is not None:
                    hard = message.get("signal") == signal.SIGKILL
                    instance.kill(signal.SIGKILL if hard else signal.SIGTERM)
            case "kill_frontend":
                for frontend in self._frontends:
                    if frontend.index == message.get("index") and frontend.child is not None:
                        frontend.child.kill()
            case "remember":
                self._loaded_models = [str(name) for name in message.get("models") or []]
            case "ready":
                self._ready(message.get("summary") or {})
            case "fatal":
                self._give_up(str(message.get("message")))
            case "drained":
                if self.phase is Phase.DRAINING_CORE:
                    self._stop_all()
            case other:
                _log.error("core sent a message that is not understood: %s", other)

    def _from_frontend(self, frontend: Frontend, message: Message) -> None:
        match message["op"]:
            case "listening":
                frontend.listening = True
                self._announce()
            case "drained":
                frontend.drained = True
                self._frontends_drained()
            case other:
                _log.error(
                    "frontend %d sent a message that is not understood: %s", frontend.index, other
                )

    def _spawn(self, key: str, message: Message, fds: list[int]) -> None:
        def ended(how: Ended) -> None:
            self._instance_ended(key, instance, how)

        try:
            if self.phase not in (Phase.STARTING, Phase.SERVING):
                raise OSError("the server is exiting")
            if key in self._instances:
                raise OSError(f"{key!r} runs already")
            instance = make_instance(
                self._loop, self._roles, self._strays, key, message, fds, ended
            )
        except EndedBefore as gone:
            self._tell_core(exited(key, int(message["pid"]), gone.how))
            return
        except OSError as error:
            self._tell_core(exited(key, 0, Ended(None, 127, False)) | {"error": str(error)})
            return
        self._instances[key] = instance
        self._tell_core({"op": "spawned", "key": key, "pid": instance.pid})

    def _ready(self, summary: dict[str, Any]) -> None:
        if self.phase is Phase.SERVING:
            _log.info("core is ready again: %s", models_line(summary))
            return
        if self.phase is not Phase.STARTING:
            return
        self.phase = Phase.SERVING
        for frontend in self._frontends:
            take_connections(frontend.sockets)
        text = startup_summary(
            summary,
            self._settings,
            addresses=self._addresses,
            processes={"supervisor": 1, "core": 1, "frontend": len(self._frontends)}
            | {"instance": len(self._instances)},
        )
        _log.info("%s", text, extra={"block": True})
        self._announce()

    def _announce(self) -> None:
        """Once: when models are loaded and every frontend takes connections."""
        everyone = all(frontend.listening for frontend in self._frontends)
        if self._announced or self.phase is not Phase.SERVING or not everyone:
            return
        self._announced = True
        for protocol, service in SERVICES.items():
            if protocol in self._addresses:
                _log.info("Started %s at %s", service, self._addresses[protocol])
        _log.info("ready %.2f s after the start", self._loop.now() - self._started_s)

    # ---- when children end -------------------------------------------------------------------

    def _frontend_ended(self, frontend: Frontend, how: Ended) -> None:
        assert frontend.child is not None
        started_s, pid = frontend.child.started_s, frontend.child.pid
        frontend.child, frontend.listening = None, False
        self._tell_core({"op": "frontend_exited", "index": frontend.index, "reason": str(how)})
        if self.phase in (Phase.STARTING, Phase.SERVING):
            delay_s = frontend.backoff.delay_after(started_s, self._loop.now(), killed=how.killed)
            self._log_restart(f"frontend {frontend.index} (pid {pid})", how, delay_s)
            if not self._hopeless("a frontend", how):
                self._loop.call_later(delay_s, lambda: self._start_frontend(frontend))
        self._frontends_drained()
        self._maybe_end()

    def _core_ended(self, how: Ended) -> None:
        assert self._core is not None
        started_s, pid = self._core.started_s, self._core.pid
        self._core = None
        serving = self.phase in (Phase.STARTING, Phase.SERVING)
        if self.phase is not Phase.STOPPING:
            # Nobody is left to speak for these; when stopping they end by themselves.
            for instance in self._instances.values():
                instance.kill()
        self._orphans |= set(self._instances.values())
        self._instances.clear()
        if serving:
            delay_s = self._core_backoff.delay_after(started_s, self._loop.now(), killed=how.killed)
            self._log_restart(f"core (pid {pid})", how, delay_s)
            if not self._hopeless("core", how):
                self._loop.call_later(delay_s, self._start_core)
        elif self.phase in (Phase.DRAINING_FRONTENDS, Phase.DRAINING_CORE):
            _log.error("core (pid %d) ended with %s while requests were in flight", pid, how)
            self.exit_code = 1
            self._stop_all()
        self._maybe_end()

    def _instance_ended(self, key: str, instance: Child, how: Ended) -> None:
        if self._instances.get(key) is instance:
            del self._instances[key]
            self._tell_core(exited(key, instance.pid, how))
        self._orphans.discard(instance)
        self._maybe_end()

    def _log_restart(self, who: str, how: Ended, delay_s: float) -> None:
        when = f"in {delay_s:g} s" if delay_s else "now"
        _log.error("%s ended with %s; it is started again %s", who, how, when)

    def _hopeless(self, role: str, how: Ended) -> bool:
        if self.phase is not Phase.STARTING:
            return False
        self._failed_starts[role] = self._failed_starts.get(role, 0) + 1
        if self._failed_starts[role] < STARTS_BEFORE_GIVING_UP:
            return False
        self._give_up(
            f"{role} ended {STARTS_BEFORE_GIVING_UP} times before the server was ready,"
            f" at last with {how}"
        )
        return True

    # ---- stopping ----------------------------------------------------------------------------

    def signalled(self, number: int) -> None:
        """SIGINT or SIGTERM: the first drains, the second kills. SIGCHLD: somebody has ended."""
        if number == signal.SIGCHLD:
            self._reap_strays()
            return
        if self.phase in (Phase.STARTING, Phase.SERVING):
            _log.info("Signal (%d) received.", number)
            self._drain()
            return
        _log.warning("Signal (%d) received again; stopping now.", number)
        self.exit_code = 1
        self._kill_all()

    def _drain(self) -> None:
        for frontend in self._frontends:
            if frontend.child is not None:
                frontend.child.send({"op": "drain"})
        self._close_sockets()
        if self.phase is Phase.STARTING:
            self._stop_all()  # nothing is in flight
            return
        self._tell_core({"op": "exiting"})
        _log.info("Waiting for in-flight requests to complete.")
        self.phase = Phase.DRAINING_FRONTENDS
        budget_s = self._settings.exit_timeout_secs
        self._deadline_s = self._loop.now() + budget_s
        self._loop.call_later(budget_s, self._drain_took_too_long)
        self._frontends_drained()

    def _frontends_drained(self) -> None:
        if self.phase is not Phase.DRAINING_FRONTENDS:
            return
        if any(one.child is not None and not one.drained for one in self._frontends):
            return
        self.phase = Phase.DRAINING_CORE
        if self._core is None:
            self._stop_all()
        else:
            self._tell_core({"op": "drain"})

    def _stop_all(self) -> None:
        if self.phase in (Phase.STOPPING, Phase.KILLING):
            return
        self.phase = Phase.STOPPING
        self._close_sockets()
        for child in self._children():
            child.send({"op": "stop"})
        if self._core is None:
            for instance in (*self._instances.values(), *self._orphans):
                instance.kill()
        left_s = float(self._settings.exit_timeout_secs)
        if self._deadline_s is not None:
            left_s = self._deadline_s - self._loop.now()
        self._loop.call_later(max(LEAST_STOP_S, left_s), self._out_of_time)
        self._maybe_end()

    def _give_up(self, message: str) -> None:
        if self.phase is Phase.KILLING:
            return
        _log.error("%s", message)
        self.exit_code = 1
        self._stop_all()

    def _drain_took_too_long(self) -> None:
        if self.phase in (Phase.DRAINING_FRONTENDS, Phase.DRAINING_CORE):
            self._out_of_time()

    def _out_of_time(self) -> None:
        if self.phase is Phase.KILLING:
            return
        _log.error("Exit timeout expired. Exiting immediately.")
        self.exit_code = 1
        self._kill_all()

    def _kill_all(self) -> None:
        self.phase = Phase.KILLING
        self._close_sockets()
        for child in (*self._children(), *self._instances.values(), *self._orphans):
            child.kill()
        self._maybe_end()

    def _close_sockets(self) -> None:
        for frontend in self._frontends:
            refuse_connections(frontend.sockets)

    def _children(self) -> list[Child]:
        """Those that take our messages."""
        everyone = [self._core, *(frontend.child for frontend in self._frontends)]
        return [child for child in everyone if child is not None]

    def _reap_strays(self) -> None:
        everyone = (*self._children(), *self._instances.values(), *self._orphans)
        self._strays.reap({child.pid for child in everyone})

    def _maybe_end(self) -> None:
        self._reap_strays()
        stopping = self.phase in (Phase.STOPPING, Phase.KILLING)
        if stopping and not (self._children() or self._instances or self._orphans):
            self._loop.stop()

    # ---- small things ------------------------------------------------------------------------

    def _tell_core(self, message: Message) -> None:
        if self._core is not None:
            self._core.send(message)
