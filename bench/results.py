"""What a run of the harness found, as data, and its JSON file.

A file has every round of every scenario, so that medians, spreads and ratios can be made again
from it, and a header that says on which machine and with which versions.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Header:
    """`date` is ISO's, in UTC; `versions` are by target and tool, `machine` by property."""

    date: str
    command: str
    machine: dict[str, str]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Round:
    """One measured run of one scenario on one target.

    `cpu_us` and `switches` are of all processes of the server, for each request; latencies are
    the client's, None where the load generator has none. `bad` spoils a round unless it is 0.
    """

    section: str  # a chapter of the table, such as "Small tensors"
    scenario: str  # unique in the file, such as "http-binary-64"
    title: str  # the scenario for readers, such as "native identity, HTTP binary"
    load: str  # generator and shape of the load
    target: str
    number: int  # of the round, from 0: rounds of the same number were taken one after the other
    requests: int
    per_second: float
    cpu_us: float
    p50_us: float | None
    p99_us: float | None
    p999_us: float | None
    switches: float
    rss_mib: float
    bad: int


@dataclass(frozen=True, slots=True)
class Fact:
    """A single figure that is no load: a size, a time to start. Several of the same scenario and
    target are repetitions. Less is better, unless `unit` ends in "/s".
    """

    section: str
    scenario: str
    title: str
    target: str
    value: float
    unit: str  # "MiB", "s", "us", "answers/s", ...


@dataclass(frozen=True, slots=True)
class Results:
    header: Header
    rounds: tuple[Round, ...]
    facts: tuple[Fact, ...]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Raises ValueError, which names the file, if it is none of ours."""
        try:
            kept: dict[str, Any] = json.loads(path.read_text())
            return cls(
                Header(**kept["header"]),
                tuple(Round(**one) for one in kept["rounds"]),
                tuple(Fact(**one) for one in kept["facts"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no file of results: {error}") from error
