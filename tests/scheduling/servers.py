"""The servers that scenarios are carried out against, by name: what differs are flags and the hooks
of the environment that Triton's users test batching with.

PYSERVER_WIRE_TARGET=triton runs the scenarios against the real Triton instead.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.targets.process import ServerProcess
from bench.targets.pyserver import Pyserver
from bench.targets.triton import Triton
from tests.scheduling.drive import Driver
from tests.scheduling.repository import Model, lay_out
from tests.scheduling.steps import Scenario


@dataclass(frozen=True, slots=True)
class Setup:
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


DELAYED = 6  # so many requests wait before a "delayed" server's scheduler first looks at them
SERVERS: dict[str, Setup] = {
    "plain": Setup(),
    "delayed": Setup(environment={"TRITONSERVER_DELAY_SCHEDULER": str(DELAYED)}),
    "backlogged": Setup(
        environment={
            "TRITONSERVER_DELAY_SCHEDULER": str(DELAYED),
            "TRITONSERVER_BACKLOG_DELAY_SCHEDULER": "2",
        }
    ),
    "cached": Setup(("--cache-config=local,size=1048576",)),
    "rated": Setup(("--rate-limit=execution_count", "--rate-limit-resource=R:2")),
}
_EVERYWHERE = ("--model-control-mode=explicit", "--exit-timeout-secs=10")


class _Pyserver(Pyserver):
    def __init__(self, log: Path, setup: Setup) -> None:
        super().__init__(log)
        self._setup = setup

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), **self._setup.environment}


class _Triton(Triton):
    def __init__(self, log: Path, setup: Setup) -> None:
        super().__init__(log)
        self._setup = setup

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), **self._setup.environment}


class SchedulingServers:
    """Servers by name, with their drivers; each is started when it is first asked for."""

    def __init__(
        self, folder: Path, models: Sequence[Model], target: str, scenarios: Iterable[Scenario]
    ) -> None:
        self._folder = folder
        self._scenarios = tuple(scenarios)
        self._models = models
        self._target = target
        self._running: dict[str, tuple[ServerProcess, Driver]] = {}

    def driver(self, name: str) -> Driver:
        if name not in self._running:
            self._running[name] = self._start(name)
        return self._running[name][1]

    def alive(self, name: str) -> bool:
        return name in self._running and self._running[name][0].running()

    def _start(self, name: str) -> tuple[ServerProcess, Driver]:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))
        repository, reports = lay_out(folder, self._models)
        log = folder / "server.log"
        kind = _Triton if self._target == "triton" else _Pyserver
        server = kind(log, SERVERS[name])
        ports = server.start(repository, extra=(*_EVERYWHERE, *SERVERS[name].flags))
        try:
            server.wait_ready(60)
        except Exception:
            server.stop(5)
            raise
        driver = Driver(ports, reports)
        driver.load_early(self._early(name))
        return server, driver

    def _early(self, server: str) -> list[str]:
        """What this server's scenarios need, but for those that load it anew. Ensembles are left
        out: they must come after their steps.
        """
        programs = {model.name for model in self._models if model.program is not None}
        needed = {
            model
            for scenario in self._scenarios
            if scenario.server == server and not scenario.fresh
            for model in scenario.models
        }
        return sorted(needed & programs)

    def stop(self) -> dict[str, int]:
        """Stop all by SIGTERM; the exit codes by name."""
        return {name: self.stop_one(name) for name in tuple(self._running)}

    def stop_one(self, name: str) -> int:
        """The next who asks for it gets another one."""
        server, driver = self._running.pop(name)
        driver.close()
        return server.stop()
