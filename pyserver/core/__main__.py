"""`python -m pyserver.core --control-fd=N`: the core process, started by the supervisor.

Imports follow the order in which things are needed: models begin to load before aiohttp is
imported.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from typing import Any

from pyserver._core import Engine, end_with_parent
from pyserver.cache_settings import cache_settings
from pyserver.control.channel import ControlClosed, ControlSocket, Message
from pyserver.core.role import Core, Predecessor
from pyserver.core.supervisor_link import SupervisorLink
from pyserver.observe.log import open_log
from pyserver.settings import Settings

log = logging.getLogger(__name__)


def main() -> int:
    parent = os.getppid()
    parser = argparse.ArgumentParser(prog="pyserver.core")
    parser.add_argument("--control-fd", type=int, required=True)
    control_fd: int = parser.parse_args().control_fd
    if not end_with_parent("pyserver-core", parent):
        return 1
    # Signals of a terminal reach the supervisor, which tells us what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    control = ControlSocket(control_fd)
    try:
        message, _ = control.receive()
    except ControlClosed:
        return 0
    if message["op"] != "start":
        return 0  # "stop" before anything began
    settings = Settings.from_dict(message["settings"])
    open_log(settings, role="core")
    predecessor = Predecessor(tuple(message.get("models") or ())) if message.get("again") else None
    asyncio.run(_serve(settings, control.detach(), predecessor))
    # Whatever a library's thread still does must not delay the exit.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


async def _serve(settings: Settings, control_fd: int, predecessor: Predecessor | None) -> None:
    from pyserver.backends import backend_info
    from pyserver.config.devices import gpu_count

    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    engine: Any = _make_engine(settings)
    engine.start()

    def received(message: Message, fds: list[int]) -> None:
        if message["op"] == "stop":
            stopping.set()
        else:
            core.received(message, fds)

    link = SupervisorLink(control_fd, loop, on_message=received, on_closed=_supervisor_gone)
    core = Core(
        settings,
        engine,
        link,
        backend_info=backend_info,
        gpu_count=gpu_count(),
        predecessor=predecessor,
        collect=gc.collect,
    )
    core.spawn_task(_start(core))
    core.spawn_task(_serve_control(core))
    await stopping.wait()
    await core.stop()
    engine.stop()


async def _start(core: Core) -> None:
    await core.start()
    # What is here now stays: the collector need not walk through it after each unload.
    gc.collect()
    gc.freeze()


def _make_engine(settings: Settings) -> Engine:
    """With room for the response cache beside core's own tables, and for the gaps between them."""
    cache = cache_settings(settings.cache_config)
    cache_bytes = cache.byte_size if cache is not None else 0
    region_bytes = settings.region_byte_size
    return Engine(
        region_bytes + 2 * cache_bytes,
        region_bytes + cache_bytes,
        settings.busy_poll,
        cache_bytes,
        settings.rate_limits(),
    )


async def _serve_control(core: Core) -> None:
    # In a thread: the loop goes on starting models, and frontends wait for nobody's import.
    make_services, serve_grpc = await asyncio.to_thread(_import_control)
    services = make_services(core)  # one for both protocols: log and trace settings live in it
    if core.settings.allow_http:
        http_app, dispatcher = await asyncio.to_thread(_import_http)
        core.serve_http_with(http_app(dispatcher(services)).serve)
    if core.settings.allow_grpc:
        core.serve_grpc_with(await serve_grpc(services))


def _import_control() -> tuple[Any, Any]:
    from pyserver.control.grpc_api.start import serve_grpc
    from pyserver.core.services import make_services

    return make_services, serve_grpc


def _import_http() -> tuple[Any, Any]:
    from pyserver.control.http_app import HttpApp
    from pyserver.control.routes import Dispatcher

    return HttpApp, Dispatcher


def _supervisor_gone() -> None:
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
