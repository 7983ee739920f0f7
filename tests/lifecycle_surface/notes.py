"""What a scenario noted, by its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def by_place(notes: Sequence[Any] | None) -> dict[str, Any]:
    """Notes by their number and what they are of, so that each difference stands alone."""
    return {
        f"{number} {what}": said
        for number, note in enumerate(notes or ())
        for what, said in note.items()
    }
