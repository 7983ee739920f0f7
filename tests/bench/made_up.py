"""Results that nobody measured, as small as a test needs them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.results import Fact, Header, Results, Round

HEADER = Header(
    date="2026-11-28T19:07Z",
    command="python -m bench",
    machine={"processor": "Any CPU", "cores": "2", "load average": "0.10 0.20 0.30"},
    versions={"pyserver": "0.1.0", "triton": "2.51.0"},
)


def round_of(
    target: str = "pyserver",
    number: int = 0,
    cpu_us: float = 10.0,
    *,
    scenario: str = "http-1",
    section: str = "Small tensors",
    per_second: float = 1000.0,
    p50_us: float | None = 100.0,
    p99_us: float | None = 200.0,
    bad: int = 0,
) -> Round:
    return Round(
        section=section,
        scenario=scenario,
        title=f"identity over {scenario}",
        load="wrk, 1 connection",
        target=target,
        number=number,
        requests=5000,
        per_second=per_second,
        cpu_us=cpu_us,
        p50_us=p50_us,
        p99_us=p99_us,
        p999_us=None,
        switches=2.0,
        rss_mib=150.0,
        bad=bad,
    )


def rounds_of(target: str, cpu_us: Sequence[float], scenario: str = "http-1") -> list[Round]:
    """One for each CPU time, with all else the same."""
    return [round_of(target, number, cpu, scenario=scenario) for number, cpu in enumerate(cpu_us)]


def fact_of(
    target: str, value: float, *, scenario: str = "start", unit: str = "s", section: str = "Start"
) -> Fact:
    return Fact(section, scenario, f"the {scenario}", target, value, unit)


def results_of(rounds: Iterable[Round] = (), facts: Iterable[Fact] = ()) -> Results:
    return Results(HEADER, tuple(rounds), tuple(facts))


BOTH = results_of(
    [*rounds_of("pyserver", [10, 12, 11]), *rounds_of("triton", [50, 40, 50])],
    [fact_of("pyserver", 0.6), fact_of("triton", 1.2)],
)
