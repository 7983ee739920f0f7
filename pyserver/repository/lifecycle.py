"""The life of one model version: the only place where its state changes.

    UNKNOWN ──load──> LOADING ──ready──> READY ──unload──> UNLOADING ──> UNAVAILABLE (reason)
                         │                │ ^swap             │               │
                         └──fail──────────┴──fail─────────────┼──────────────>│
                         ^────────────────────load────────────┴───────────────┘

Single-threaded: everything happens on the control plane's event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pyserver.config.model_config_pb2 import ModelConfig

UNLOADED: Final = "unloaded"


class State(StrEnum):
    """Triton's states, as the repository index prints them."""

    UNKNOWN = "UNKNOWN"
    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


_ALLOWED: Final[Mapping[State, frozenset[State]]] = {
    State.UNKNOWN: frozenset({State.LOADING, State.UNAVAILABLE}),
    State.LOADING: frozenset({State.READY, State.UNAVAILABLE}),
    State.READY: frozenset({State.READY, State.UNLOADING, State.UNAVAILABLE}),
    State.UNLOADING: frozenset({State.LOADING, State.UNAVAILABLE}),
    State.UNAVAILABLE: frozenset({State.LOADING}),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What stands behind a READY version.

    `handle` is the engine's number of it, never reused; `config` the completed configuration;
    `spec` what frontends need to know in order to check requests; `steps` the models of an
    ensemble's steps, by the names that its config has for them.
    """

    handle: int
    config: ModelConfig
    spec: Mapping[str, Any]
    steps: Mapping[str, str] = field(default_factory=dict)


class ModelVersion:
    """One version of one model, `name` being its identity. `on_change` hears of every change of
    state or content.
    """

    __slots__ = ("_loaded", "_on_change", "_reason", "_state", "due", "name", "version")

    def __init__(
        self, name: str, version: int, on_change: Callable[[ModelVersion], None] | None = None
    ) -> None:
        self.name = name
        self.version = version
        self._state = State.UNKNOWN
        self._reason = ""
        self._loaded: Loaded | None = None
        self._on_change = on_change
        # Whether the server is not ready without it: it served, or is to serve from the start.
        self.due = False

    @property
    def state(self) -> State:
        return self._state

    @property
    def reason(self) -> str:
        """Why the version is UNAVAILABLE; empty in every other state."""
        return self._reason

    @property
    def loaded(self) -> Loaded | None:
        """What serves requests now (READY), or serves its last ones (UNLOADING)."""
        return self._loaded

    def described(self) -> str:
        """Name, version and state, for people."""
        text = f"model '{self.name}' version {self.version} is {self._state}"
        return f"{text}: {self._reason}" if self._reason else text

    def begin_load(self) -> None:
        """A first or new attempt to load. A READY version stays READY until its successor is."""
        if self._state is not State.READY:
            self._move(State.LOADING, loaded=None)

    def become_ready(self, loaded: Loaded) -> Loaded | None:
        """Serves with `loaded` from now on; returns what served until now."""
        before = self._loaded
        self.due = True
        self._move(State.READY, loaded=loaded)
        return before

    def begin_unload(self) -> Loaded | None:
        """Takes no new requests; returns what is to be drained. None: there was nothing to
        unload.
        """
        if self._state is not State.READY:
            return None
        before = self._loaded
        self.due = False
        self._move(State.UNLOADING, loaded=before)
        return before

    def finish_unload(self, handle: int) -> None:
        """What was drained is gone. Without effect when another load has begun meanwhile."""
        if self._state is State.UNLOADING and self._loaded and self._loaded.handle == handle:
            self._move(State.UNAVAILABLE, loaded=None, reason=UNLOADED)

    def fail(self, reason: str) -> None:
        """A load failed, or what served broke for good."""
        self._move(State.UNAVAILABLE, loaded=None, reason=reason)

    def abandon_load(self) -> None:
        """The load was given up because another version failed."""
        if self._state is State.LOADING:
            self._move(State.UNAVAILABLE, loaded=None, reason=UNLOADED)

    def _move(self, state: State, *, loaded: Loaded | None, reason: str = "") -> None:
        if state not in _ALLOWED[self._state]:
            raise RuntimeError(
                f"model '{self.name}' version {self.version}: no way from {self._state} to {state}"
            )
        self._state = state
        self._loaded = loaded
        self._reason = reason
        if self._on_change is not None:
            self._on_change(self)
