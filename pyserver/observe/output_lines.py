"""What a process prints, as lines for the log, within bounds: no I/O and no clock here.

Who prints faster than a log can be read loses lines, and the log says how many. A line that is too
long is cut. Of a line that is overwritten again and again (a progress bar) its last form counts.
"""

from __future__ import annotations

from typing import Final

from pyserver.observe.output_budget import PAUSE_S, OutputBudget

MAX_LINE_BYTES: Final = 8 << 10
# Of the lines that were dropped when the process ended, so many are told after all.
LAST_DROPPED_BYTES: Final = 4 << 10
LAST_DROPPED_LINES: Final = 40


class OutputLines:
    """Bytes in, lines out. Holds one unfinished line at most."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._rest_since_s = 0.0
        self._cut_bytes = 0  # of the unfinished line
        self._budget = OutputBudget()
        self._last_dropped = b""  # a crash may have been among them

    @property
    def waiting(self) -> bool:
        """Whether `tick` may have something to say later."""
        return bool(self._rest) or self._budget.dropping

    def feed(self, data: bytes, now_s: float) -> list[str]:
        """The lines that are complete now."""
        lines = _said(self._budget.resume(now_s))
        start = 0
        while self._budget.may_pass(now_s):
            end = data.find(b"\n", start)
            if end < 0:
                self._keep(data[start:], now_s)
                return lines
            self._keep(data[start:end], now_s)
            lines.append(self._take_line())
            start = end + 1
        end = data.rfind(b"\n") + 1
        if end > start:
            self._budget.drop(
                data.count(b"\n", start, end),
                end - start + len(self._rest) + self._cut_bytes,
            )
            self._rest.clear()
            self._cut_bytes = 0
            self._last_dropped = (self._last_dropped + data[start:end])[-LAST_DROPPED_BYTES:]
            start = end
        self._keep(data[start:], now_s)
        return lines

    def tick(self, now_s: float) -> list[str]:
        """What has waited long enough: call it about once a second while `waiting`."""
        lines = _said(self._budget.resume(now_s))
        if self._rest and now_s - self._rest_since_s >= PAUSE_S and self._budget.may_pass(now_s):
            lines.append(self._take_line())
        return lines

    def finish(self) -> list[str]:
        """The end: what is left, what was dropped, and the last of that."""
        told = self._budget.dropping
        lines = _said(self._budget.finish())
        if told and lines:
            last = self._last_dropped.decode("utf-8", "replace").splitlines()
            lines += last[-LAST_DROPPED_LINES:]
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
        self._budget.take(len(self._rest))
        self._forget_overwritten()
        text = self._rest.rstrip(b"\r").decode("utf-8", "replace")
        if self._cut_bytes:
            text += f"... ({self._cut_bytes} bytes more)"
        self._rest.clear()
        self._cut_bytes = 0
        return text


def _said(text: str) -> list[str]:
    return [text] if text else []
