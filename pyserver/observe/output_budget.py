"""How much a model may say in how much time: no clock here.

A burst passes whole; who goes on faster than a log can be read is not heard for a while, and what
was dropped is counted.
"""

from __future__ import annotations

from typing import Final

# A bucket: what may come at once, and what flows in each second.
BURST_LINES: Final = 4000
BURST_BYTES: Final = 1 << 20
LINES_PER_S: Final = 400
BYTES_PER_S: Final = 100 << 10
# How long lines are dropped at least, once the bucket is empty.
PAUSE_S: Final = 1.0


class OutputBudget:
    """A bucket for lines and one for bytes."""

    def __init__(self) -> None:
        self._lines_left = float(BURST_LINES)
        self._bytes_left = float(BURST_BYTES)
        self._filled_s: float | None = None
        self._dropping_since_s: float | None = None
        self._dropped_lines = 0
        self._dropped_bytes = 0

    @property
    def dropping(self) -> bool:
        return self._dropping_since_s is not None

    def may_pass(self, now_s: float) -> bool:
        """Whether a line passes now; if not, so it stays until `resume`."""
        if not self.dropping and (self._lines_left < 1 or self._bytes_left < 0):
            self._dropping_since_s = now_s
        return not self.dropping

    def take(self, byte_size: int) -> None:
        """One line has passed."""
        self._lines_left -= 1
        self._bytes_left -= byte_size

    def drop(self, lines: int, byte_size: int) -> None:
        self._dropped_lines += lines
        self._dropped_bytes += byte_size

    def resume(self, now_s: float) -> str:
        """Fills the bucket; what was dropped, as a text, when that is over."""
        if self._filled_s is not None:
            passed_s = max(0.0, now_s - self._filled_s)
            self._lines_left = min(BURST_LINES, self._lines_left + passed_s * LINES_PER_S)
            self._bytes_left = min(BURST_BYTES, self._bytes_left + passed_s * BYTES_PER_S)
        self._filled_s = now_s
        since_s = self._dropping_since_s
        if since_s is None or now_s - since_s < PAUSE_S or self._bytes_left < 0:
            return ""
        return self.finish()

    def finish(self) -> str:
        """What was dropped since it was last told, as a text, or ""."""
        self._dropping_since_s = None
        if not self._dropped_lines:
            return ""
        text = (
            f"{self._dropped_lines} lines ({self._dropped_bytes} bytes) of output were dropped:"
            f" more than {LINES_PER_S} lines or {BYTES_PER_S} bytes a second"
        )
        self._dropped_lines = self._dropped_bytes = 0
        return text
