"""A server for as long as a test wants it: started, waited for, asked, stopped with exit code 0."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tritonclient.grpc as triton

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


@contextmanager
def grpc_client(server: Pyserver) -> Iterator[Any]:
    """Triton's own, for as long as it is wanted."""
    assert server.ports is not None
    with triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as made:
        yield made


def counters(server: Pyserver) -> dict[str, Any]:
    """The server's own books: engine's, each frontend's, each instance."""
    assert server.ports is not None
    connection = http.client.HTTPConnection("127.0.0.1", server.ports.http, timeout=10)
    try:
        connection.request("GET", "/v2/pyserver/counters")
        told: dict[str, Any] = json.loads(connection.getresponse().read())
        return told
    finally:
        connection.close()
