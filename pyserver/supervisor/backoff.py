"""When to start a process again that has ended: at once, then ever later, unless it lived well."""

from __future__ import annotations

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
FORGIVEN_AFTER_S = 10.0
# Who kills a healthy process wants to see it come back soon.
LONGEST_DELAY_AFTER_KILL_S = 0.4


class Backoff:
    """The delays of one process. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._ends_in_a_row = 0

    def delay_after(self, started_s: float, ended_s: float, *, killed: bool = False) -> float:
        """How long to wait after a life from `started_s` to `ended_s`: 0, 0.1, 0.2, ... 5.

        `killed` says that somebody else ended it with SIGKILL: then at most 0.4.
        """
        longest_s = LONGEST_DELAY_AFTER_KILL_S if killed else LONGEST_DELAY_S
        if ended_s - started_s >= FORGIVEN_AFTER_S:
            self._ends_in_a_row = 0
        self._ends_in_a_row += 1
        if self._ends_in_a_row == 1:
            return 0.0
        return float(min(longest_s, FIRST_DELAY_S * 2 ** min(self._ends_in_a_row - 2, 20)))
