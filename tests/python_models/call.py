"""What a call of the tables is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `stream`: over a stream, all responses; else one."""

    name: str
    model: str
    inputs: dict[str, np.ndarray]
    outputs: tuple[str, ...] = ()
    stream: bool = False
    options: dict[str, Any] = field(default_factory=dict)


def floats(*values: float) -> dict[str, np.ndarray]:
    return {"X": np.array(values, np.float32)}


def words(*texts: bytes) -> np.ndarray:
    return np.array(texts, dtype=np.object_)


def kind(text: str) -> dict[str, np.ndarray]:
    return {"KIND": words(text.encode())}


def count(number: int) -> dict[str, np.ndarray]:
    return {"COUNT": np.array([number], np.int32)}
