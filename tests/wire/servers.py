"""The servers that the tables of requests are sent to: pyserver, started on free ports when a row
first asks for it, and shared by HTTP's table and gRPC's.

PYSERVER_WIRE_TARGET=triton runs the tables against the real Triton instead, which shows that the
tables and their comparisons are right.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.targets.process import Ports, ServerProcess, StartFailed
from bench.targets.pyserver import Pyserver, command_path
from bench.targets.triton import Triton, installed
from tests.wire.table import ServerSetup

TARGET = os.environ.get("PYSERVER_WIRE_TARGET", "pyserver")


class WireServers:
    """Servers by name; whoever names one again gets the one that runs."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._started: dict[str, ServerProcess] = {}

    def ports(self, name: str, setup: ServerSetup) -> Ports:
        if name not in self._started:
            self._started[name] = self._start(name, setup)
        ports = self._started[name].ports
        assert ports is not None
        return ports

    def _start(self, name: str, setup: ServerSetup) -> ServerProcess:
        log = self._log_folder / f"{name}.log"
        server: ServerProcess
        if TARGET == "triton":
            if not installed():
                pytest.skip("no real Triton: python -m bench.targets.triton install")
            server, flags = Triton(log), setup.recording_flags
        else:
            if not command_path().exists():
                pytest.fail(f"no server command at {command_path()}: run `make install`")
            server, flags = Pyserver(log), setup.flags
        server.start(setup.model_repository, extra=flags)
        try:
            server.wait_ready(path=setup.up_path)
        except StartFailed:
            server.stop(5)
            raise
        return server

    def stop(self) -> dict[str, int]:
        """Stop all by SIGTERM; the exit codes by name."""
        return {name: server.stop() for name, server in self._started.items()}
