"""One row of the tables: who attacks, with what, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from tests.h2_attacks.must import Must
from tests.h2_attacks.wire import Wire

MIB = 1 << 20


class Attacker:
    """Connections to one port. `wire` is the one that the row's `must` is about."""

    def __init__(self, port: int, *, greets: bool = True) -> None:
        self._port = port
        self._wires: list[Wire] = []
        self.wire = self.another(greets=greets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for wire in self._wires:
            wire.close()

    def another(self, *, greets: bool = True, settings: dict[int, int] | None = None) -> Wire:
        """One more connection; it is closed at the attack's end."""
        wire = Wire(self._port)
        self._wires.append(wire)
        return wire.greet(settings) if greets else wire


@dataclass(frozen=True, slots=True)
class Attack:
    """`send` makes the attack on an attacker's connections; it bounds itself in count and time."""

    name: str
    send: Callable[[Attacker], object]
    must: Must
    within_s: float = 2.0  # from the end of `send` on
    greets: bool = True  # preface and settings are exchanged first
    peak_bytes: int = 64 * MIB  # RSS of all processes may grow by so much meanwhile


def sends(*pieces: bytes) -> Callable[[Attacker], object]:
    """An attack that is nothing but these bytes."""
    return lambda attacker: attacker.wire.send(b"".join(pieces))
