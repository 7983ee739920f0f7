"""What every test may rely on: when all are done, no process and no /dev/shm entry is left behind.

Waiting is in tests/waiting.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until
from tests.wire.servers import WireServers


def _descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found |= {int(child)} | _descendants(int(child))
    return found


def _shm_entries() -> set[str]:
    """Ours only: a name that another program made is not for us to judge."""
    return {name for name in os.listdir("/dev/shm") if "pyserver" in name}


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Runs last of all: session-wide servers are gone by then."""
    shm_before = _shm_entries()
    children_before = _descendants(os.getpid())
    yield
    wait_until(
        lambda: not _descendants(os.getpid()) - children_before,
        timeout_s=10,
        what="the end of every process that the tests started",
    )
    assert _shm_entries() == shm_before


@pytest.fixture(scope="session")
def wire_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServers]:
    """The servers of tests/wire and tests/wire_grpc; at the end each must have stopped by itself,
    with exit code 0.
    """
    running = WireServers(tmp_path_factory.mktemp("wire"))
    try:
        yield running
    finally:
        codes = running.stop()
    assert set(codes.values()) <= {0}, f"exit codes after SIGTERM: {codes}"
