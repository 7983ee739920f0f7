"""What the supervisor and core say to a frontend, and what it answers.

Messages are handled between two turns of the gateway's loop, one at a time, so nothing here needs
a lock, and nothing here may take long.
"""

from __future__ import annotations

import json
import logging
import math
import os
from typing import Any

from pyserver._core import Gateway
from pyserver.control.channel import ControlClosed, ControlSocket, Message
from pyserver.frontend.entrances import entrance
from pyserver.observe.log import open_log
from pyserver.settings import Settings

_log = logging.getLogger(__name__)


def gateway_settings(settings: Settings) -> dict[str, Any]:
    """The server's settings in the gateway's words. Times are whole seconds there, at least one."""
    restrictions = {
        category: (header, value)
        for categories, header, value in settings.http_restricted_api
        for category in categories.split(",")
    }
    grpc_restrictions = {
        category: (header, value)
        for categories, header, value in settings.grpc_restricted_protocol
        for category in categories.split(",")
    }
    return {
        "allow_http": settings.allow_http,
        "allow_grpc": settings.allow_grpc,
        "grpc_min_ping_interval_ns": 1_000_000
        * settings.grpc_http2_min_recv_ping_interval_without_data,
        "grpc_max_ping_strikes": settings.grpc_http2_max_ping_strikes,
        "grpc_keepalive_s": math.ceil(settings.grpc_keepalive_time / 1000),
        "grpc_keepalive_timeout_s": math.ceil(settings.grpc_keepalive_timeout / 1000),
        "grpc_keepalive_without_calls": settings.grpc_keepalive_permit_without_calls,
        "grpc_max_age_s": math.ceil(settings.grpc_max_connection_age / 1000),
        "grpc_max_age_grace_s": math.ceil(settings.grpc_max_connection_age_grace / 1000),
        "grpc_compression_level": settings.grpc_infer_response_compression_level,
        "grpc_restrictions": grpc_restrictions,
        "max_input_bytes": settings.http_max_input_size,
        "max_head_bytes": settings.http_max_header_size,
        "idle_timeout_s": math.ceil(settings.http_idle_timeout_secs),
        "head_timeout_s": math.ceil(settings.http_header_timeout_secs),
        "body_timeout_s": math.ceil(settings.http_body_timeout_secs),
        "write_timeout_s": math.ceil(settings.http_body_timeout_secs),
        "load_timeout_s": settings.on_demand_load_timeout_secs,
        "restrictions": restrictions,
    }


class FrontendLink:
    """A frontend's two conversations. `run()` returns at "stop", or when the supervisor is gone."""

    def __init__(self, supervisor: ControlSocket) -> None:
        self._supervisor = supervisor
        self._core: ControlSocket | None = None
        self._listening = False
        message, fds = supervisor.receive()
        if message["op"] != "start":
            raise ValueError(f"the supervisor began with '{message['op']}', not with 'start'")
        self._index = int(message["index"])
        settings = Settings.from_dict(message["settings"])
        open_log(settings, role=f"frontend{self._index}")
        self._gateway = Gateway(gateway_settings(settings))
        entrances = {protocol: entrance(settings, protocol) for protocol in message["protocols"]}
        for fd, protocol in zip(fds, message["protocols"], strict=True):
            self._gateway.add_listener(fd, **entrances[protocol])
        self._gateway.on_want(lambda name: self._tell_core({"op": "want", "name": name}))
        self._gateway.watch(supervisor.fileno(), self._from_supervisor)

    def run(self) -> None:
        """Runs the loop; the GIL is free meanwhile."""
        self._gateway.run()

    # --- the supervisor ---

    def _from_supervisor(self) -> None:
        try:
            message, fds = self._supervisor.receive()
        except ControlClosed:
            self._gateway.stop()
            return
        match message["op"]:
            case "core" if len(fds) == 1:
                self._meet_core(ControlSocket(fds.pop()))
            case "drain":
                self._gateway.drain(self._drained)
            case "stop":
                self._gateway.stop()
            case other:
                _log.error("the supervisor sent a message that is not understood: %s", other)
        for fd in fds:
            os.close(fd)

    def _drained(self) -> None:
        self._tell_supervisor({"op": "drained"})

    def _tell_supervisor(self, message: Message) -> None:
        try:
            self._supervisor.send(message)
        except ControlClosed:
            self._gateway.stop()

    # --- core ---

    def _meet_core(self, core: ControlSocket) -> None:
        """A new core; the old one, if there still is one, is no longer ours."""
        self._leave_core()
        self._core = core
        self._gateway.watch(core.fileno(), self._from_core)
        self._tell_core({"op": "hello", "index": self._index})

    def _leave_core(self) -> None:
        if self._core is None:
            return
        self._gateway.unwatch(self._core.fileno())
        self._core.close()
        self._core = None
        self._gateway.core_lost()

    def _from_core(self) -> None:
        if self._core is None:
            return
        try:
            message, fds = self._core.receive()
        except ControlClosed:
            _log.warning("core is gone; requests are answered 503 until there is a new one")
            self._leave_core()
            return
        try:
            self._obey_core(message, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def _obey_core(self, message: Message, fds: list[int]) -> None:
        assert self._core is not None
        match message["op"]:
            case "attach":
                self._gateway.attach(fds, self._core.fileno())
            case "region":
                self._gateway.add_region(int(message["peer"]), fds[0])
                self._tell_core({"op": "region_ok", "peer": message["peer"]})
            case "grpc":
                self._gateway.attach_grpc(fds[0])
            case "retire":
                self._gateway.retire(int(message["peer"]))
            case "model":
                self._gateway.apply_model(json.dumps(message))
            case "forget":
                self._gateway.forget_model(str(message["name"]))
            case "not_loaded":
                self._gateway.refuse_model(
                    str(message["name"]), int(message["code"]), str(message["message"])
                )
            case "end_streams":
                self._gateway.end_streams()
            case "health":
                self._gateway.set_live(bool(message["live"]))
            case "serve":
                self._gateway.serve()
                if not self._listening:
                    self._listening = True
                    self._tell_supervisor({"op": "listening"})
            case "counters":
                self._tell_core({"op": "counters"} | self._gateway.counters())
            case other:
                _log.error("core sent a message that is not understood: %s", other)

    def _tell_core(self, message: Message) -> None:
        if self._core is None:
            return
        try:
            self._core.send(message)
        except ControlClosed:
            self._leave_core()
