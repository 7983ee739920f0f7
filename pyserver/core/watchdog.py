"""Ends instances whose execute takes longer than their model allows.

The engine knows since when each instance executes; it is asked a few times within the shortest
limit, and not at all while no model has one.
"""

from __future__ import annotations

import asyncio
from typing import Final

from pyserver.core.engine_link import Engine
from pyserver.core.running_versions import RunningVersions

_LOOKS_WITHIN_LIMIT: Final = 5
_SHORTEST_S: Final = 0.05
_LONGEST_S: Final = 1.0


class Watchdog:
    def __init__(self, engine: Engine, running: RunningVersions) -> None:
        self._engine = engine
        self._running = running

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            limit_s = self._running.shortest_execute_limit_s()
            pause_s = (limit_s or _LONGEST_S) / _LOOKS_WITHIN_LIMIT
            await asyncio.sleep(min(max(pause_s, _SHORTEST_S), _LONGEST_S))
            if limit_s is not None:
                for peer in self._engine.overdue():
                    self._running.overdue(peer)
