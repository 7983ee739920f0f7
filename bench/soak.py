"""One load in slices on one server, and its memory after each: flat or growing.

The first fifth fills what grows once (allocators, tables, the statistics of each batch size);
after it, memory that still grows is lost with every request.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench import rounds

SLICES = 20
_FILLED = SLICES // 5  # the slice that the last one is compared with
_ALLOWED_MIB, _ALLOWED_SHARE = 2.0, 0.02  # whichever is more


def flat(rss_mib: Sequence[float]) -> bool:
    """Whether the last slice is within the allowance of the one that ends the first fifth."""
    filled = rss_mib[_FILLED - 1]
    return rss_mib[-1] - filled <= max(_ALLOWED_MIB, _ALLOWED_SHARE * filled)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(arguments: argparse.Namespace, part: rounds.Scenario) -> int:
    """Run `part`, one slice, again and again on pyserver or on the target that the flags name.

    Returns the exit code: 0 is flat, and every request answered.
    """
    name = (arguments.target or ["pyserver"])[0]
    slices: list[rounds.Round] = []
    print(_line([f"{name}: requests", "RSS MiB", "requests/s", "CPU µs/request", "bad"]))
    print("|--:|--:|--:|--:|--:|")
    with rounds.serving([name]) as (target,):
        part.check(rounds.ports_of(target))
        for _ in range(SLICES):
            one = rounds.measure(target, part, seconds=0)
            slices.append(one)
            done = sum(each.requests for each in slices)
            cells = [f"{done:,.0f}", f"{one.rss_mib:.1f}", f"{one.per_second:,.0f}"]
            print(_line([*cells, f"{one.cpu_us:.1f}", str(one.bad)]), flush=True)
    if arguments.json:
        rounds.keep(slices, arguments.json)
    memory = [one.rss_mib for one in slices]
    grown = memory[-1] - memory[_FILLED - 1]
    verdict = "flat" if flat(memory) else "GROWING"
    print(f"{verdict}: {grown:+.1f} MiB from slice {_FILLED} to slice {SLICES}")
    return 0 if flat(memory) and not any(one.bad for one in slices) else 1
