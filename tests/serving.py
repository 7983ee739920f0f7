"""A server for as long as a test wants it: started, waited for, and stopped with exit code 0."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.targets.pyserver import Pyserver
from tests.waiting import wait_until


@contextmanager
def serving(log: Path, repository: Path, *flags: str) -> Iterator[Pyserver]:
    """It must be running at the end, and end well. That it is ready, it says in its log: not every
    server can be asked over plain HTTP.
    """
    server = Pyserver(log)
    server.start(repository, extra=flags)

    def ready() -> bool:
        assert server.running(), server.log_tail()
        return "s after the start" in log.read_text()

    try:
        wait_until(ready, timeout_s=60, what="a ready server")
        yield server
        assert server.running(), server.log_tail()
    finally:
        code = server.stop()
    assert code == 0, server.log_tail()
