"""The supervisor's main: bind the addresses, start the tree, pass signals on."""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyserver
from pyserver.settings import Settings
from pyserver.supervisor.listen import ListenError, bind_workers, close_all, shown
from pyserver.supervisor.loop import Loop
from pyserver.supervisor.tls_files import TlsError, check_tls_files
from pyserver.supervisor.tree import ROLES, Tree

_log = logging.getLogger(__name__)


def supervise(settings: Settings, *, roles: Mapping[str, str] = ROLES) -> int:
    """Serves until a signal or a fatal error; the process's exit code. Main thread only."""
    try:
        check_tls_files(settings)
    except TlsError as error:
        _log.error("%s", error)
        return 1
    try:
        http = bind_workers(
            settings.http_address,
            settings.http_port,
            workers=settings.frontend_workers,
            share_port=settings.reuse_http_port,
        )
    except ListenError as error:
        _log.error("%s", error)
        return 1
    # Port 0 has become a real one, which everybody should know.
    settings = replace(settings, http_port=http[0][0].getsockname()[1])
    addresses = {"http": shown(settings.http_address, settings.http_port)}
    sockets = [{"http": own} for own in http]
    if settings.allow_grpc:
        try:
            grpc = bind_workers(
                settings.grpc_address,
                settings.grpc_port,
                workers=settings.frontend_workers,
                share_port=settings.reuse_grpc_port,
            )
        except ListenError as error:
            close_all(http)
            _log.error("%s", error)
            return 1
        settings = replace(settings, grpc_port=grpc[0][0].getsockname()[1])
        addresses["grpc"] = shown(settings.grpc_address, settings.grpc_port)
        for worker, own in zip(sockets, grpc, strict=True):
            worker["grpc"] = own
    _name_process("pyserver")
    places = ", ".join(f"{name.upper()} will be at {at}" for name, at in addresses.items())
    _log.info("pyserver %s starts; %s", pyserver.__version__, places)
    loop = Loop()
    tree = Tree(settings, loop, sockets, addresses=addresses, roles=roles)
    try:
        with loop.signals((signal.SIGINT, signal.SIGTERM), tree.signalled):
            tree.start()
            loop.run()
    finally:
        loop.close()
    _log.info("pyserver has stopped")
    return tree.exit_code


def _name_process(name: str) -> None:
    """What `ps` and `top` show."""
    try:
        Path("/proc/self/comm").write_text(name)
    except OSError:
        pass  # a name is not worth failing for
