"""Scenarios measured on several servers in turns, and the table that compares them.

All servers stay up; the rounds alternate A B A B, so that a slow minute of the machine hits both.
README.md beside this file explains each figure.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

from bench import cpu
from bench.targets.process import Ports, ServerProcess
from bench.targets.pyserver import Pyserver
from bench.targets.triton import Triton
from bench.targets.triton import installed as triton_installed

MODELS = Path(__file__).with_name("models")
MODEL_NAMES = ("identity", "python_identity")
TARGETS: Mapping[str, Callable[[Path], ServerProcess]] = {"pyserver": Pyserver, "triton": Triton}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the load generator saw of one run; latencies are microseconds as the client saw them.

    `requests` is every request that the server answered in the run, since its CPU time is
    divided by it.
    """

    requests: int
    per_second: float
    p50_us: float
    p99_us: float
    bad: int


class Scenario(Protocol):
    """One model of bench/models/ under one load."""

    @property
    def model(self) -> str: ...

    @property
    def load(self) -> str:
        """Generator and shape of the load, for the table."""

    def check(self, ports: Ports) -> None:
        """Raise RuntimeError unless one request is answered with its own sixteen numbers."""

    def prepare(self, ports: Ports, seconds: int) -> Callable[[], Seen]:
        """Warm the server, which is not counted; the measured run comes back as a function."""


@dataclass(frozen=True, slots=True)
class Round:
    """One measured run of one scenario on one target."""

    model: str
    load: str
    target: str
    requests: float
    per_second: float
    cpu_us: float
    p50_us: float
    p99_us: float
    switches: float
    rss_mib: float
    bad: int


def ports_of(target: ServerProcess) -> Ports:
    if target.ports is None:
        raise RuntimeError(f"{target.name} was not started")
    return target.ports


def measure(target: ServerProcess, scenario: Scenario, seconds: int) -> Round:
    """One run, and what it cost the whole server."""
    run = scenario.prepare(ports_of(target), seconds)
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
        model=scenario.model,
        load=scenario.load,
        target=target.name,
        requests=seen.requests,
        per_second=seen.per_second,
        cpu_us=(after.cpu_us - before.cpu_us) / requests,
        p50_us=seen.p50_us,
        p99_us=seen.p99_us,
        switches=(after.context_switches - before.context_switches) / requests,
        rss_mib=after.rss_bytes / 2**20,
        bad=seen.bad,
    )


@contextmanager
def serving(names: Sequence[str]) -> Iterator[list[ServerProcess]]:
    """These targets, ready with bench/models/, and stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        started: list[ServerProcess] = []
        try:
            for name in names:
                target = TARGETS[name](Path(folder) / f"{name}.log")
                started.append(target)
                target.start(MODELS)
            for target in started:
                target.wait_ready()
            yield started
        finally:
            for target in started:
                target.stop()


def in_turns(
    targets: Sequence[str], scenarios: Sequence[Scenario], *, rounds: int, seconds: int
) -> list[Round]:
    """Measure every scenario on the targets in turns; all rounds in order."""
    measured: list[Round] = []
    with serving(targets) as started:
        for scenario in scenarios:
            for target in started:
                scenario.check(ports_of(target))
            for _ in range(rounds):
                for target in started:
                    one = _measure_or_restart(target, scenario, seconds)
                    if one is not None:
                        measured.append(one)
    return measured


def _measure_or_restart(target: ServerProcess, scenario: Scenario, seconds: int) -> Round | None:
    """None if the server died under the load, which Triton 2.51 does now and then when a stream
    of many requests ends: the round is lost, the others shall not be.
    """
    try:
        return measure(target, scenario, seconds)
    except Exception:  # whatever a load generator makes of a server that is gone
        if target.running():
            raise
    print(f"{target.name} died under {scenario.load} on {scenario.model}", flush=True)
    target.stop()
    target.start(MODELS)
    target.wait_ready()
    return None


def _middle(rounds: Sequence[Round]) -> Round:
    """Each figure's median over the rounds; the bad answers are summed."""
    figures = ("requests", "per_second", "cpu_us", "p50_us", "p99_us", "switches", "rss_mib")
    medians = {name: median(getattr(one, name) for one in rounds) for name in figures}
    return dataclasses.replace(rounds[0], **medians, bad=sum(one.bad for one in rounds))


_COLUMNS: Sequence[tuple[str, Callable[[Round], float], str]] = (
    ("requests/s", lambda one: one.per_second, "{:,.0f}"),
    ("CPU µs/request", lambda one: one.cpu_us, "{:.1f}"),
    ("p50 µs", lambda one: one.p50_us, "{:,.0f}"),
    ("p99 µs", lambda one: one.p99_us, "{:,.0f}"),
    ("switches/request", lambda one: one.switches, "{:.2f}"),
    ("RSS MiB", lambda one: one.rss_mib, "{:,.0f}"),
    ("bad", lambda one: one.bad, "{:.0f}"),
)


def table(rounds: Sequence[Round]) -> str:
    """The Markdown table: a line for each scenario and target, then the ratio pyserver / triton."""
    groups: dict[tuple[str, str], dict[str, list[Round]]] = {}
    for one in rounds:
        by_target = groups.setdefault((one.model, one.load), {})
        by_target.setdefault(one.target, []).append(one)
    names = [name for name, _, _ in _COLUMNS]
    lines = [
        "| model | load | server | " + " | ".join(names) + " |",
        "|---|---|---|" + "--:|" * len(names),
    ]
    for (model, load), by_target in groups.items():
        middles = {target: _middle(found) for target, found in by_target.items()}
        for target, middle in middles.items():
            cells = [form.format(value(middle)) for _, value, form in _COLUMNS]
            lines.append(f"| {model} | {load} | {target} | " + " | ".join(cells) + " |")
        if len(middles) == 2:
            ours, theirs = middles["pyserver"], middles["triton"]
            cells = [_ratio(value(ours), value(theirs)) for _, value, _ in _COLUMNS[:-1]]
            lines.append(f"| {model} | {load} | **ratio** | " + " | ".join(cells) + " | |")
    return "\n".join(lines)


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}" if theirs else "-"


def keep(rounds: Sequence[Round], path: Path) -> None:
    """Every round as JSON."""
    path.write_text(json.dumps([dataclasses.asdict(one) for one in rounds], indent=1) + "\n")


def command_line(title: str) -> argparse.ArgumentParser:
    """The flags that every comparison takes."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--target", choices=list(TARGETS), action="append")
    parser.add_argument("--model", choices=list(MODEL_NAMES), action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each measured run")
    parser.add_argument("--json", type=Path, help="write every round there")
    return parser


def compare(arguments: argparse.Namespace, scenarios: Sequence[Scenario]) -> None:
    """What `command_line` parsed, done: the table on the screen, every round in the file."""
    targets = arguments.target or list(TARGETS)
    if not arguments.target and not triton_installed():
        print("no real Triton to compare with: python -m bench.targets.triton install")
        targets.remove(Triton.name)
    measured = in_turns(targets, scenarios, rounds=arguments.rounds, seconds=arguments.seconds)
    print(table(measured))
    if arguments.json:
        keep(measured, arguments.json)
