"""Where pyserver knowingly does not do what was recorded, and why: the real Triton at hand is 2.51,
and what is followed is the newer line (2.73) as shared/spec tells it, or better sense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Differing:
    """`parts` replace what was recorded at these places: keys of the recording, as a path. A value
    of None takes the place away.
    """

    reason: str
    parts: Mapping[tuple[str | int, ...], Any]

    def instead_of(self, recorded: Any) -> Any:
        """What is right instead."""
        return _replaced(recorded, self.parts)


def _replaced(value: Any, parts: Mapping[tuple[str | int, ...], Any]) -> Any:
    if () in parts:
        return parts[()]
    kept: dict[Any, Any] = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    for key in {path[0] for path in parts}:
        below = {path[1:]: part for path, part in parts.items() if path[0] == key}
        kept[key] = _replaced(kept.get(key, {}), below)
        if kept[key] is None:
            del kept[key]
    return kept if isinstance(value, dict) else [kept[index] for index in sorted(kept)]


DIFFERING: dict[str, Differing] = {}
