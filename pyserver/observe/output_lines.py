"""What a process prints, as lines for the log, within bounds: no I/O and no clock here.

A burst passes whole; who goes on printing faster than a log can be read loses lines, and the log
says how many. A line that is too long is cut. Of a line that is overwritten again and again (a
progress bar) its last form counts.
"""

from __future__ import annotations

from typing import Final

MAX_LINE_BYTES: Final = 8 << 10
# A bucket: what may come at once, and what flows in each second.
BURST_LINES: Final = 4000
BURST_BYTES: Final = 1 << 20
LINES_PER_S: Final = 400
BYTES_PER_S: Final = 100 << 10
# How long lines are dropped at least, once the bucket is empty; and how long a line without an
# end may wait for it.
PAUSE_S: Final = 1.0


class OutputLines:
    """Bytes in, lines out. Holds one unfinished line at most."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._rest_since_s = 0.0
        self._cut_bytes = 0  # of the unfinished line
        self._lines_left = float(BURST_LINES)
        self._bytes_left = float(BURST_BYTES)
        self._filled_s: float | None = None
        self._dropping_since_s: float | None = None
        self._dropped_lines = 0
        self._dropped_bytes = 0

    @property
    def waiting(self) -> bool:
        """Whether `tick` may have something to say later."""
        return bool(self._rest) or self._dropping_since_s is not None

    def feed(self, data: bytes, now_s: float) -> list[str]:
        """The lines that are complete now."""
        lines = self._resume(now_s)
        start = 0
        while self._may_pass(now_s):
            end = data.find(b"\n", start)
            if end < 0:
                self._keep(data[start:], now_s)
                return lines
            self._keep(data[start:end], now_s)
            lines.append(self._take_line())
            start = end + 1
        end = data.rfind(b"\n") + 1
        if end > start:
            self._dropped_lines += data.count(b"\n", start, end)
            self._dropped_bytes += end - start + len(self._rest) + self._cut_bytes
            self._rest.clear()
            self._cut_bytes = 0
            start = end
        self._keep(data[start:], now_s)
        return lines

    def tick(self, now_s: float) -> list[str]:
        """What has waited long enough: call it about once a second while `waiting`."""
        lines = self._resume(now_s)
        if self._rest and now_s - self._rest_since_s >= PAUSE_S and self._may_pass(now_s):
            lines.append(self._take_line())
        return lines

    def finish(self) -> list[str]:
        """The end: what is left, and what was dropped."""
        lines = self._dropped_notice()
        if self._rest:
            lines.append(self._take_line())
        return lines

    def _keep(self, part: bytes, now_s: float) -> None:
        if not part:
            return
        if not self._rest:
            self._rest_since_s = now_s
        self._rest += part
        if len(self._rest) > MAX_LINE_BYTES:
            self._forget_overwritten()
        over = len(self._rest) - MAX_LINE_BYTES
        if over > 0:
            del self._rest[MAX_LINE_BYTES:]
            self._cut_bytes += over

    def _forget_overwritten(self) -> None:
        at = self._rest.rstrip(b"\r").rfind(b"\r")
        if at >= 0:
            del self._rest[: at + 1]

    def _take_line(self) -> str:
        self._lines_left -= 1
        self._bytes_left -= len(self._rest)
        self._forget_overwritten()
        text = self._rest.rstrip(b"\r").decode("utf-8", "replace")
        if self._cut_bytes:
            text += f"... ({self._cut_bytes} bytes more)"
        self._rest.clear()
        self._cut_bytes = 0
        return text

    def _may_pass(self, now_s: float) -> bool:
        if self._dropping_since_s is None and (self._lines_left < 1 or self._bytes_left < 0):
            self._dropping_since_s = now_s
        return self._dropping_since_s is None

    def _resume(self, now_s: float) -> list[str]:
        """Fills the bucket; says what was dropped when that is over."""
        if self._filled_s is not None:
            passed_s = max(0.0, now_s - self._filled_s)
            self._lines_left = min(BURST_LINES, self._lines_left + passed_s * LINES_PER_S)
            self._bytes_left = min(BURST_BYTES, self._bytes_left + passed_s * BYTES_PER_S)
        self._filled_s = now_s
        since_s = self._dropping_since_s
        if since_s is None or now_s - since_s < PAUSE_S or self._bytes_left < 0:
            return []
        return self._dropped_notice()

    def _dropped_notice(self) -> list[str]:
        self._dropping_since_s = None
        if not self._dropped_lines:
            return []
        text = (
            f"{self._dropped_lines} lines ({self._dropped_bytes} bytes) of output were dropped:"
            f" more than {LINES_PER_S} lines or {BYTES_PER_S} bytes a second"
        )
        self._dropped_lines = self._dropped_bytes = 0
        return [text]
