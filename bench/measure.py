"""Scenarios measured on several servers in turns.

The servers of a scenario are up together and the rounds alternate A B A B, so that a slow minute
of the machine hits all. Servers stay up for the next scenario if that one deploys the same;
README.md beside this file explains each figure.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import cpu
from bench.asking import check
from bench.deployment import Deployment
from bench.loads.load import Load
from bench.results import Round
from bench.targets.process import ServerProcess
from bench.workload import Workload

Targets = Mapping[str, Callable[[Path], ServerProcess]]
_START_S = 180.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One workload under one load, on these targets. `loads` are of targets that need another
    one, because no request reaches them.
    """

    section: str
    name: str
    title: str
    workload: Workload
    load: Load
    targets: tuple[str, ...] = ("pyserver", "triton")
    deployment: Deployment | None = None  # None: the model alone
    loads: Mapping[str, Load] = field(default_factory=dict)

    @property
    def deployed(self) -> Deployment:
        return self.deployment or Deployment((self.workload.model,))

    def load_on(self, target: str) -> Load:
        return self.loads.get(target, self.load)


class Servers:
    """The servers that are up, each with its own deployment; a context that stops them all."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._up: dict[str, tuple[Deployment, ServerProcess, ExitStack]] = {}

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self.only(())

    def only(self, names: Iterable[str]) -> None:
        """Stop all servers but these: those that are idle may still cost something."""
        for name in set(self._up) - set(names):
            self._up.pop(name)[2].close()

    def get(self, name: str, deployment: Deployment) -> ServerProcess:
        """The target, running with this deployment and ready; started if it is not."""
        if name in self._up and (
            self._up[name][0] != deployment or not self._up[name][1].running()
        ):
            self._up.pop(name)[2].close()
        if name not in self._up:
            with ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
                server = self._targets[name](folder / "server.log")
                stack.callback(server.stop)
                served = folder / "served"
                served.mkdir()
                path, flags = server.lay_out(deployment, served)
                server.start(path, extra=flags)
                server.wait_ready(_START_S)
                self._up[name] = deployment, server, stack.pop_all()
        return self._up[name][1]


def measure(target: ServerProcess, scenario: Scenario, number: int, seconds: float) -> Round:
    """One run, and what it cost the whole server."""
    load = scenario.load_on(target.name)
    run = load.prepare(target, scenario.workload, seconds)
    pids = target.pids()
    before = cpu.sample(pids)
    seen = run()
    after = cpu.sample(pids)
    if target.pids() != pids:
        raise RuntimeError(
            f"{target.name}: its processes changed under load, so the sums are wrong"
        )
    requests = max(seen.requests, 1)
    return Round(
        section=scenario.section,
        scenario=scenario.name,
        title=scenario.title,
        load=load.text,
        target=target.name,
        number=number,
        requests=seen.requests,
        per_second=seen.per_second,
        cpu_us=(after.cpu_us - before.cpu_us) / requests,
        p50_us=seen.p50_us,
        p99_us=seen.p99_us,
        p999_us=seen.p999_us,
        switches=(after.context_switches - before.context_switches) / requests,
        rss_mib=after.rss_bytes / 2**20,
        bad=seen.bad,
    )


def in_turns(
    scenarios: Sequence[Scenario],
    targets: Targets,
    *,
    rounds: int,
    seconds: float,
    said: Callable[[str], None],
    kept: Callable[[Sequence[Round]], None],
) -> list[Round]:
    """Measure every scenario on those of its targets that are given; all rounds in order. After
    each scenario `kept` gets the rounds so far, lest an hour is lost by what comes later.
    """
    measured: list[Round] = []
    with Servers(targets) as servers:
        for scenario in scenarios:
            names = [name for name in scenario.targets if name in targets]
            servers.only(names)
            for name in names:
                server = servers.get(name, scenario.deployed)
                if name not in scenario.loads:
                    check(server, scenario.workload)
            for number in range(rounds):
                for name in names:
                    server = servers.get(name, scenario.deployed)
                    one = _measured_or_dead(server, scenario, number, seconds, said)
                    if one is not None:
                        measured.append(one)
                        said(_line(one))
            kept(measured)
    return measured


def _line(one: Round) -> str:
    return (
        f"{one.scenario:24} {one.target:12} {one.number}  {one.per_second:10,.0f}/s"
        f"  {one.cpu_us:8,.1f} us CPU" + (f"  {one.bad} bad" if one.bad else "")
    )


def _measured_or_dead(
    server: ServerProcess,
    scenario: Scenario,
    number: int,
    seconds: float,
    said: Callable[[str], None],
) -> Round | None:
    """None if the server died under the load, which Triton 2.51 does now and then when a stream
    of many requests ends: the round is lost, the others shall not be.
    """
    try:
        return measure(server, scenario, number, seconds)
    except Exception:  # whatever a load generator makes of a server that is gone
        if server.running():
            raise
    said(f"{server.name} died in round {number} of {scenario.name}; it is started again")
    return None
