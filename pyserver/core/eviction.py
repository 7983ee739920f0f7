"""Which models leave memory, and when: decisions without a clock, a process or a lock.

Times are seconds of any one clock. An ensemble holds no memory; the models of its steps are in use
as long as it is, and it leaves before they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that is loaded. `byte_size` is what its processes hold."""

    name: str
    byte_size: int = 0
    last_use_s: float = 0.0
    in_use: bool = False  # requests are in flight, or a load needs it
    held: bool = False  # stays, whatever comes
    needed_by: tuple[str, ...] = ()  # ensembles that are loaded


def to_evict(residents: Iterable[Resident], excess_bytes: int) -> list[str]:
    """The least recently used ones whose memory makes up for the excess, in the order in which
    they may be unloaded; all that may leave where these are not enough.
    """
    idle = _idle(residents)
    chosen: set[str] = set()
    freed = 0
    for one in idle:
        if freed >= excess_bytes:
            break
        if one.byte_size:
            chosen.add(one.name)
            freed += one.byte_size
    needed_by = {one.name: one.needed_by for one in idle}
    todo = list(chosen)
    while todo:
        for name in needed_by.get(todo.pop(), ()):
            if name not in chosen:
                chosen.add(name)
                todo.append(name)
    return [one.name for one in idle if one.name in chosen]


def expired(residents: Iterable[Resident], keep_alive_s: float, now_s: float) -> list[str]:
    """Those that nobody has used for so long, in the order in which they may be unloaded."""
    return [one.name for one in _idle(residents) if now_s - one.last_use_s >= keep_alive_s]


def may_leave(residents: Iterable[Resident]) -> list[str]:
    """All that nobody uses or holds, least recently used first."""
    return [one.name for one in _idle(residents)]


def retry_delay_s(failures_in_a_row: int) -> float:
    """How long after a failed load no other is tried: 1, 2, 4 ... 60 s."""
    return min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures_in_a_row - 1, 10))


def _idle(residents: Iterable[Resident]) -> list[Resident]:
    """What may be unloaded, least recently used first, ensembles before their steps."""
    known = {one.name: one for one in residents}
    depths: dict[str, int] = {}
    for name in known:
        _inherit(name, known, depths)
    able = [one for one in known.values() if not (one.in_use or one.held)]
    return sorted(able, key=lambda one: (one.last_use_s, depths[one.name], one.name))


def _inherit(name: str, known: dict[str, Resident], depths: dict[str, int]) -> None:
    """Makes the model as much in use as those that need it; `depths` grows towards the steps."""
    if name in depths:
        return
    depths[name] = 0
    for dependent in known[name].needed_by:
        if dependent not in known:
            continue
        _inherit(dependent, known, depths)
        depths[name] = max(depths[name], depths[dependent] + 1)
        known[name] = _at_least(known[name], known[dependent])


def _at_least(one: Resident, other: Resident) -> Resident:
    return replace(
        one,
        last_use_s=max(one.last_use_s, other.last_use_s),
        in_use=one.in_use or other.in_use,
        held=one.held or other.held,
    )


def byte_sizes(names: Iterable[str], sizes: Mapping[str, int]) -> int:
    """What these hold together, as far as it is known."""
    return sum(sizes.get(name, 0) for name in set(names))
