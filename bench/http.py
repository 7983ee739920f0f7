"""What one small inference costs over HTTP, on pyserver and on the real Triton, measured in turns.

    python -m bench.http                      both servers, all scenarios
    python -m bench.http --target triton --rounds 1 --seconds 3
    python -m bench.http --json /tmp/http.json    keeps every round

Both servers serve bench/models/ and stay up; the rounds alternate A B A B, so that a slow minute of
the machine hits both. README.md beside this file explains each figure.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import json
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import cpu
from bench.loads import wrk
from bench.targets.process import ServerProcess
from bench.targets.pyserver import Pyserver
from bench.targets.triton import Triton
from bench.targets.triton import installed as triton_installed

_MODELS = Path(__file__).with_name("models")
_TARGETS: Mapping[str, Callable[[Path], ServerProcess]] = {"pyserver": Pyserver, "triton": Triton}
_FLOATS = struct.pack("<16f", *range(16))
_JSON = (
    b'{"inputs":[{"name":"INPUT0","shape":[1,16],"datatype":"FP32",'
    b'"parameters":{"binary_data_size":64}}],'
    b'"outputs":[{"name":"OUTPUT0","parameters":{"binary_data":true}}]}'
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One model of bench/models/ asked over so many connections."""

    model: str
    connections: int

    @property
    def load(self) -> wrk.HttpLoad:
        return wrk.HttpLoad(
            path=f"/v2/models/{self.model}/infer",
            headers={
                "Content-Type": "application/octet-stream",
                "Inference-Header-Content-Length": str(len(_JSON)),
            },
            body=_JSON + _FLOATS,
        )


@dataclass(frozen=True, slots=True)
class Round:
    """One measured run of one scenario on one target."""

    model: str
    connections: int
    target: str
    requests: int
    per_second: float
    cpu_us: float
    p50_us: float
    p99_us: float
    switches: float
    rss_mib: float
    bad: int


def _checked(target: ServerProcess, scenario: Scenario) -> None:
    """Raise unless one request is answered with its own sixteen numbers."""
    if target.ports is None:
        raise RuntimeError(f"{target.name} was not started")
    load = scenario.load
    connection = http.client.HTTPConnection("127.0.0.1", target.ports.http, timeout=10)
    try:
        connection.request("POST", load.path, load.body, dict(load.headers))
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200 or not body.endswith(_FLOATS):
            raise RuntimeError(f"{target.name} answers {load.path} with {answer.status}: {body!r}")
    finally:
        connection.close()


def _measure(target: ServerProcess, scenario: Scenario, seconds: int) -> Round:
    if target.ports is None:
        raise RuntimeError(f"{target.name} was not started")
    port, load = target.ports.http, scenario.load
    wrk.run(load, port, connections=scenario.connections, seconds=1)  # warm, not counted
    pids = target.pids()
    before = cpu.sample(pids)
    seen = wrk.run(load, port, connections=scenario.connections, seconds=seconds)
    after = cpu.sample(pids)
    if target.pids() != pids:
        raise RuntimeError(
            f"{target.name}: its processes changed under load, so the sums are wrong"
        )
    return Round(
        model=scenario.model,
        connections=scenario.connections,
        target=target.name,
        requests=seen.requests,
        per_second=seen.per_second,
        cpu_us=(after.cpu_us - before.cpu_us) / max(seen.requests, 1),
        p50_us=seen.p50_us,
        p99_us=seen.p99_us,
        switches=(after.context_switches - before.context_switches) / max(seen.requests, 1),
        rss_mib=after.rss_bytes / 2**20,
        bad=seen.refused + seen.failed + seen.timed_out,
    )


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
    groups: dict[tuple[str, int], dict[str, list[Round]]] = {}
    for one in rounds:
        by_target = groups.setdefault((one.model, one.connections), {})
        by_target.setdefault(one.target, []).append(one)
    names = [name for name, _, _ in _COLUMNS]
    lines = [
        "| model | connections | server | " + " | ".join(names) + " |",
        "|---|--:|---|" + "--:|" * len(names),
    ]
    for (model, connections), by_target in groups.items():
        middles = {target: _middle(found) for target, found in by_target.items()}
        for target, middle in middles.items():
            cells = [form.format(value(middle)) for _, value, form in _COLUMNS]
            lines.append(f"| {model} | {connections} | {target} | " + " | ".join(cells) + " |")
        if len(middles) == 2:
            ours, theirs = middles["pyserver"], middles["triton"]
            cells = [_ratio(value(ours), value(theirs)) for _, value, _ in _COLUMNS[:-1]]
            lines.append(f"| {model} | {connections} | **ratio** | " + " | ".join(cells) + " | |")
    return "\n".join(lines)


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}" if theirs else "-"


def run(
    targets: Sequence[str], scenarios: Sequence[Scenario], *, rounds: int, seconds: int
) -> list[Round]:
    """Start the targets, measure every scenario in turns, stop them; all rounds in order."""
    measured: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="bench-http-") as folder:
        started: list[ServerProcess] = []
        try:
            for name in targets:
                target = _TARGETS[name](Path(folder) / f"{name}.log")
                started.append(target)
                target.start(_MODELS)
            for target in started:
                target.wait_ready()
            for scenario in scenarios:
                for target in started:
                    _checked(target, scenario)
                for _ in range(rounds):
                    measured += [_measure(target, scenario, seconds) for target in started]
        finally:
            for target in started:
                target.stop()
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of a small HTTP inference")
    parser.add_argument("--target", choices=list(_TARGETS), action="append")
    parser.add_argument("--model", choices=["identity", "python_identity"], action="append")
    parser.add_argument("--connections", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each measured run")
    parser.add_argument("--json", type=Path, help="write every round there")
    arguments = parser.parse_args()
    if not wrk.available():
        raise SystemExit("wrk is missing: apt-get install wrk")
    targets = arguments.target or list(_TARGETS)
    if not arguments.target and not triton_installed():
        print("no real Triton to compare with: python -m bench.targets.triton install")
        targets.remove(Triton.name)
    scenarios = [
        Scenario(model, connections)
        for model in arguments.model or ("identity", "python_identity")
        for connections in arguments.connections or (1, 64)
    ]
    measured = run(
        targets,
        scenarios,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
    )
    print(table(measured))
    if arguments.json:
        arguments.json.write_text(
            json.dumps([dataclasses.asdict(one) for one in measured], indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
