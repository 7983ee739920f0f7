"""One load in slices on one server, and its memory after each: flat or growing.

The first fifth fills what grows once (allocators, tables, the statistics of each batch size);
after it, memory that still grows is lost with every request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.asking import check
from bench.loads.h2load import H2load
from bench.measure import Scenario, Servers, Targets, measure
from bench.workload import Wire, Workload

SLICES = 20
_FILLED = SLICES // 5  # the slice that the last one is compared with
_ALLOWED_MIB, _ALLOWED_SHARE = 2.0, 0.02  # whichever is more


def flat(rss_mib: Sequence[float]) -> bool:
    """Whether the last slice is within the allowance of the one that ends the first fifth."""
    filled = rss_mib[_FILLED - 1]
    return rss_mib[-1] - filled <= max(_ALLOWED_MIB, _ALLOWED_SHARE * filled)


def main(name: str, requests: int, targets: Targets, said: Callable[[str], None]) -> int:
    """So many gRPC requests for the native identity, 4 x 16 in flight, on new connections for
    each slice. Returns the exit code: 0 is flat, and every request answered.
    """
    part = Scenario(
        section="Soak",
        name="soak",
        title="native identity",
        workload=Workload("identity", Wire.GRPC),
        load=H2load(4, 16, requests=requests // SLICES),
    )
    said(f"| {name}: requests | RSS MiB | requests/s | CPU µs/request | bad |")
    said("|--:|--:|--:|--:|--:|")
    memory, bad, done = [], 0, 0
    with Servers(targets) as servers:
        target = servers.get(name, part.deployed)
        check(target, part.workload)
        for number in range(SLICES):
            one = measure(target, part, number, seconds=0)
            memory.append(one.rss_mib)
            bad += one.bad
            done += one.requests
            cells = f"{done:,} | {one.rss_mib:.1f} | {one.per_second:,.0f} | {one.cpu_us:.1f}"
            said(f"| {cells} | {one.bad} |")
    verdict = "flat" if flat(memory) else "GROWING"
    grown = memory[-1] - memory[_FILLED - 1]
    said(f"{verdict}: {grown:+.1f} MiB from slice {_FILLED} to slice {SLICES}, {bad} bad")
    return 0 if flat(memory) and not bad else 1
