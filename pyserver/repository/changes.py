"""Which models have changed on disk and lie still again; pure: no clock, no I/O.

A model that somebody is still writing must not be loaded, and the writer does not say when it is
done: a change counts when nothing has moved for a while.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

# Of a model's folder: how long it must lie still before it is taken for complete.
SETTLE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Settled:
    """What is to be done now, sorted by name."""

    load: list[str]
    unload: list[str]


class SettledChanges:
    """Compares what is there with what was taken last. Marks are `ModelSources.marks`'."""

    def __init__(self, taken: Mapping[str, str], *, settle_s: float = SETTLE_S) -> None:
        self._taken = dict(taken)
        self._settle_s = settle_s
        self._moving: dict[str, tuple[str, float]] = {}  # its mark, and since when that stands

    @property
    def moving(self) -> bool:
        """Something has changed that is not settled: look again soon."""
        return bool(self._moving)

    def take(
        self, marks: Mapping[str, str], now_s: float, *, leave: Collection[str] = ()
    ) -> Settled:
        """The changes that have settled; they count as done. Those in `leave` stay as they are:
        they are looked at again the next time.
        """
        settled: list[str] = []
        for name in sorted(self._taken.keys() | marks.keys() | self._moving.keys()):
            mark = marks.get(name, "")
            if mark == self._taken.get(name, ""):
                self._moving.pop(name, None)
                continue
            before, since_s = self._moving.get(name, (None, now_s))
            if mark != before:
                since_s = now_s
            self._moving[name] = (mark, since_s)
            if name not in leave and now_s - since_s >= self._settle_s:
                settled.append(name)
        for name in settled:
            mark, _ = self._moving.pop(name)
            if mark:
                self._taken[name] = mark
            else:
                del self._taken[name]
        return Settled(
            [name for name in settled if name in self._taken],
            [name for name in settled if name not in self._taken],
        )
