"""What every load generator is to the harness: something that asks one thing of one server, again
and again, and says what it saw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench.targets.process import ServerProcess
from bench.workload import Workload


@dataclass(frozen=True, slots=True)
class Seen:
    """One run as the load generator saw it; latencies are microseconds, None where it has none.

    `requests` is every request that the server answered in the run, since its CPU time is
    divided by it. `bad` counts answers that were refusals or wrong, failures and time-outs.
    """

    requests: int
    per_second: float
    p50_us: float | None
    p99_us: float | None
    p999_us: float | None
    bad: int


class Load(Protocol):
    @property
    def text(self) -> str:
        """Generator and shape of the load, for the table."""

    def prepare(
        self, target: ServerProcess, workload: Workload, seconds: float
    ) -> Callable[[], Seen]:
        """Warm the server, which is not counted; the measured run comes back as a function.

        Raises:
            RuntimeError: the generator failed, then or in the run.
        """
