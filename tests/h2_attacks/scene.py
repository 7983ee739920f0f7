"""What an attack plays in: the server, what it held before the first attack, and the bystander."""

from __future__ import annotations

from dataclasses import dataclass

from bench.targets.pyserver import Pyserver
from tests.h2_attacks.bystander import Bystander


@dataclass(frozen=True, slots=True)
class Scene:
    server: Pyserver
    port: int  # of gRPC
    pids: frozenset[int]
    descriptors: dict[int, int]  # open ones, by process
    resident_bytes: int  # of all processes
    bystander: Bystander
