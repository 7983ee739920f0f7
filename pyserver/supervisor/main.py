"""The supervisor's main: bind the addresses, start the tree, pass signals on."""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping
from pathlib import Path

import pyserver
from pyserver.settings import Settings
from pyserver.supervisor.addresses import listen_as_set
from pyserver.supervisor.listen import ListenError
from pyserver.supervisor.loop import Loop
from pyserver.supervisor.tls_files import TlsError, check_tls_files
from pyserver.supervisor.tree import ROLES, Tree

_log = logging.getLogger(__name__)


def supervise(settings: Settings, *, roles: Mapping[str, str] = ROLES) -> int:
    """Serves until a signal or a fatal error; the process's exit code. Main thread only."""
    try:
        check_tls_files(settings)
        listening = listen_as_set(settings)
    except (TlsError, ListenError) as error:
        _log.error("%s", error)
        return 1
    _name_process("pyserver")
    at = listening.addresses
    places = ", ".join(f"{name.upper()} will be at {address}" for name, address in at.items())
    _log.info("pyserver %s starts; %s", pyserver.__version__, places)
    loop = Loop()
    tree = Tree(listening.settings, loop, listening.sockets, addresses=at, roles=roles)
    try:
        with loop.signals((signal.SIGINT, signal.SIGTERM, signal.SIGCHLD), tree.signalled):
            tree.start()
            loop.run()
    finally:
        loop.close()
        listening.close()  # also when something unforeseen has ended the loop
    _log.info("pyserver has stopped")
    return tree.exit_code


def _name_process(name: str) -> None:
    """What `ps` and `top` show."""
    try:
        Path("/proc/self/comm").write_text(name)
    except OSError:
        pass  # a name is not worth failing for
