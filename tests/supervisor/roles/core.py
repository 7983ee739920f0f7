"""A core without an engine: asks for two instances, then is ready; restarts instances that end.

CORE_MODE makes it misbehave: `crash` (exits at once), `fatal`, `hang` (never drains), `stay`
(ignores stop), `silent` (never ready).
"""

from __future__ import annotations

import os
import select
import sys
import time

from pyserver.control.channel import ControlClosed, ControlSocket, pair
from tests.supervisor.roles.messages import control_socket


class Core:
    def __init__(self) -> None:
        self.mode = os.environ.get("CORE_MODE", "")
        self.supervisor = control_socket()
        self.frontends: dict[int, ControlSocket] = {}
        self.instances: dict[str, ControlSocket] = {}
        self.running: set[str] = set()
        self.ready = False

    def run(self) -> None:
        while True:
            readable = [self.supervisor, *self.frontends.values()]
            for one in select.select(readable, [], [])[0]:
                try:
                    message, fds = one.receive()
                except ControlClosed:
                    if one is self.supervisor:
                        sys.exit(3)
                    self.frontends = {i: f for i, f in self.frontends.items() if f is not one}
                    continue
                getattr(self, "on_" + message["op"])(message, fds)

    def spawn(self, key: str) -> None:
        ours, theirs = pair()
        self.instances[key] = ours
        self.supervisor.send(
            {"op": "spawn", "key": key, "role": "instance", "env": {"INSTANCE_KEY": key}},
            [theirs.fileno()],
        )
        theirs.close()

    def on_start(self, message: dict, fds: list[int]) -> None:
        at = message["addresses"].values()
        assert at and all(one.startswith(("127.0.0.1:", "unix:")) for one in at)
        assert not any(one.endswith(":0") for one in at)
        if self.mode == "crash":
            sys.exit(7)
        if self.mode == "fatal":
            self.supervisor.send({"op": "fatal", "message": "failed to load all models"})
        if self.mode in ("fatal", "silent"):
            return
        self.spawn("a")
        self.spawn("b")

    def on_spawned(self, message: dict, fds: list[int]) -> None:
        self.running.add(message["key"])
        if len(self.running) == 2 and not self.ready:
            self.ready = True
            for frontend in self.frontends.values():
                frontend.send({"op": "serve"})
            self.supervisor.send(
                {
                    "op": "ready",
                    "summary": {
                        "models": [
                            {"name": "m", "version": "1", "state": "READY", "reason": ""},
                            {"name": "bad", "version": "", "state": "UNAVAILABLE", "reason": "why"},
                        ]
                    },
                }
            )

    def on_exited(self, message: dict, fds: list[int]) -> None:
        print(f"exited {message}", flush=True)
        self.running.discard(message["key"])
        self.spawn(message["key"])

    def on_frontend(self, message: dict, fds: list[int]) -> None:
        frontend = ControlSocket(fds[0])
        self.frontends[message["index"]] = frontend
        if self.ready:
            frontend.send({"op": "serve"})

    def on_frontend_exited(self, message: dict, fds: list[int]) -> None:
        print(f"frontend_exited {message['index']} {message['reason']}", flush=True)

    def on_exiting(self, message: dict, fds: list[int]) -> None:
        pass

    def on_drain(self, message: dict, fds: list[int]) -> None:
        if self.mode != "hang":
            self.supervisor.send({"op": "drained"})

    def on_stop(self, message: dict, fds: list[int]) -> None:
        while self.mode == "stay":
            time.sleep(60)
        sys.exit(0)


if __name__ == "__main__":
    Core().run()
