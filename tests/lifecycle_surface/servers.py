"""The servers that scenarios are carried out against: one for each protocol, which those share that
need nothing special, and one for each other scenario.

PYSERVER_WIRE_TARGET=triton runs the scenarios against the real Triton instead.
"""

from __future__ import annotations

import contextlib
import http.client
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.targets.process import ServerProcess, StartFailed
from bench.targets.pyserver import Pyserver
from bench.targets.triton import Triton
from tests.lifecycle_surface.drive import Run, Site
from tests.lifecycle_surface.steps import REPOSITORY, Scenario, Setup
from tests.waiting import wait_until

_EVERYWHERE = ("--exit-timeout-secs=10",)


class SurfaceServers:
    """Shared servers are started when they are first needed; all of `scenarios` must be told
    before, since their models lie in one repository.
    """

    def __init__(self, folder: Path, target: str, scenarios: Iterable[Scenario]) -> None:
        self._folder = folder
        self._target = target
        self._shared = Setup(
            repositories={
                REPOSITORY: tuple(
                    model
                    for scenario in scenarios
                    if scenario.setup is None
                    for model in scenario.folders
                )
            }
        )
        self._running: dict[str, Site] = {}

    def run(
        self, scenario: Scenario, protocol: str, wanted: Sequence[Any] | None = None
    ) -> list[Any]:
        """The notes of the scenario."""
        if scenario.setup is not None:
            with contextlib.ExitStack() as stack:
                site = self._start(scenario.setup)
                stack.callback(site.server.stop)
                return Run(site, scenario, protocol, wanted).notes()
        if protocol not in self._running:
            self._running[protocol] = self._start(self._shared)
        site = self._running[protocol]
        notes = Run(site, scenario, protocol, wanted).notes()
        assert site.server.running(), site.server.log_tail()
        return notes

    def _start(self, setup: Setup) -> Site:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        log = folder / "server.log"
        server: ServerProcess = Triton(log) if self._target == "triton" else Pyserver(log)
        site = Site(server, folder)
        site.gates.mkdir()
        for name, models in setup.repositories.items():
            site.repository(name).mkdir()
            for model in models:
                model.write(site.repository(name), site.gates)
        first, *others = setup.listed or tuple(setup.repositories)
        more = [f"--model-repository={site.repository(name)}" for name in others]
        server.start(site.repository(first), extra=(*_EVERYWHERE, *more, *setup.flags))
        if setup.starts:
            try:
                wait_until(lambda: _listens(server), timeout_s=60, what="a server that listens")
            except BaseException:
                server.stop(5)
                raise
        return site

    def stop(self) -> dict[str, int]:
        """Stop all that are shared, by SIGTERM; their exit codes."""
        return {name: site.server.stop() for name, site in self._running.items()}


def _listens(server: ServerProcess) -> bool:
    """It need not be ready, but all loads of the start must have been tried: before that, the real
    Triton does not listen, and pyserver's frontends answer that it is not ready.
    """
    if not server.running():
        raise StartFailed(f"{server.name} ended while starting:\n{server.log_tail()}")
    assert server.ports is not None
    if server.name == "pyserver":
        return "s after the start" in server.log_tail(400)
    connection = http.client.HTTPConnection("127.0.0.1", server.ports.http, timeout=2)
    try:
        connection.request("GET", "/v2/health/live")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
