"""The servers that the table of requests is sent to: pyserver, started once for a session on free
ports.

PYSERVER_WIRE_TARGET=triton runs the table against the real Triton instead, which shows that the
table and its comparison are right.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.targets.process import ServerProcess, StartFailed
from bench.targets.pyserver import Pyserver, command_path
from bench.targets.triton import Triton, installed
from tests.wire.table import SERVERS

TARGET = os.environ.get("PYSERVER_WIRE_TARGET", "pyserver")


class WireServers:
    """Starts each server of the table when a row first asks for it."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._started: dict[str, ServerProcess] = {}

    def port(self, name: str) -> int:
        if name not in self._started:
            self._started[name] = self._start(name)
        ports = self._started[name].ports
        assert ports is not None
        return ports.http

    def _start(self, name: str) -> ServerProcess:
        setup = SERVERS[name]
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


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServers]:
    """The running servers; at the end each must have stopped by itself, with exit code 0."""
    running = WireServers(tmp_path_factory.mktemp("wire"))
    try:
        yield running
    finally:
        codes = running.stop()
    assert set(codes.values()) <= {0}, f"exit codes after SIGTERM: {codes}"
