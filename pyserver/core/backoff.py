"""When to start an instance again that has died, and when to give up: first at once, then later."""

from __future__ import annotations

from collections import deque
from typing import Final

FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 5.0
# Somebody who kills a healthy process wants to see it come back soon.
LONGEST_DELAY_AFTER_KILL_S: Final = 0.4
FORGIVEN_AFTER_S: Final = 10.0
CRASH_LOOP_COUNT: Final = 5
CRASH_LOOP_WITHIN_S: Final = 30.0


class RestartPolicy:
    """The deaths of one process slot. Times are seconds of any one clock, handed in."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._crashes_s: deque[float] = deque(maxlen=CRASH_LOOP_COUNT)

    def delay_after_death(
        self, *, lived_s: float, now_s: float, killed_from_outside: bool = False
    ) -> float | None:
        """Seconds until the next start: 0, 0.1, 0.2, ... 5. None: it is a crash loop, give up.

        A process that lived for ten seconds is forgiven what was before. A kill from outside is no
        fault of the model: it never counts towards a crash loop, and the delay stays short.
        """
        if lived_s >= FORGIVEN_AFTER_S:
            self._in_a_row = 0
        self._in_a_row += 1
        longest_s = LONGEST_DELAY_AFTER_KILL_S
        if not killed_from_outside:
            longest_s = LONGEST_DELAY_S
            self._crashes_s.append(now_s)
            if (
                len(self._crashes_s) == CRASH_LOOP_COUNT
                and now_s - self._crashes_s[0] <= CRASH_LOOP_WITHIN_S
            ):
                return None
        if self._in_a_row == 1:
            return 0.0
        return min(longest_s, FIRST_DELAY_S * 2.0 ** min(self._in_a_row - 2, 20))
