"""What a scenario is made of: steps that a driver carries out one after the other against a
running server.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request, and go on when the server has had the time to queue it.

    `inputs` are nested lists by name; None means one row of one element, and the same without a
    batch dimension where `flat` says so. `outputs` name those that are asked for. `wait` waits for
    the answer; `stream` sends it over a stream of its own.
    """

    id: str
    model: str | None = None
    inputs: dict[str, Any] | None = None
    flat: bool = False
    sequence: int | str = 0
    start: bool = False
    end: bool = False
    priority: int = 0
    timeout_us: int = 0
    version: str = ""
    outputs: tuple[str, ...] = ()
    classes: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    wait: bool = False
    stream: bool = False
    over_http: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """Wait until a request that asked for it holds the model's instance."""

    model: str | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """Let go of what is held, and of what will be held until the scenario ends."""

    model: str | None = None


@dataclass(frozen=True, slots=True)
class Sleep:
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for the answers of these; of all that are out, if none is named."""

    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel a request that is out, as gRPC cancels calls."""

    id: str


@dataclass(frozen=True, slots=True)
class Answered:
    """Note which requests have been answered by now."""


@dataclass(frozen=True, slots=True)
class Load:
    """Load a model; what the server says is noted."""

    model: str


@dataclass(frozen=True, slots=True)
class Unload:
    """Unload a model and wait until it is gone; what the server says is noted."""

    model: str


@dataclass(frozen=True, slots=True)
class Index:
    """Note what the repository index says of a model: its versions' states and reasons."""

    model: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """Note the counts of a model's statistics."""

    model: str


Step = Send | Held | Open | Sleep | Wait | Cancel | Answered | Load | Unload | Index | Statistics


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps, the server they are for, and the models that must be there before.

    The first of `models` is the one that steps mean which name none. `fresh` loads them anew.
    `instances` compares also which instance had a batch; `sorted_batches` says that batches
    may be executed in any order.
    """

    name: str
    models: tuple[str, ...]
    steps: tuple[Step, ...]
    server: str = "plain"
    fresh: bool = False
    instances: bool = False
    sorted_batches: bool = False
