"""What is known of the models that are loaded: their memory, and whether they are in use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final

from pyserver.core.eviction import Resident
from pyserver.core.model_loader import ModelLoader
from pyserver.core.served_version import ServedVersion
from pyserver.repository.registry import Registry

# The requests that a load was for are on their way to the model.
FRESH_S: Final = 1.0
# Reading what a process holds costs the kernel a walk through all of it.
MEASURED_FOR_S: Final = 1.0


class Residents:
    """`usage()` gives (in flight, ns of the last use) by the engine's handle, `clock()` seconds of
    the same clock; `byte_size(pid)` what a process holds.
    """

    def __init__(
        self,
        loader: ModelLoader,
        registry: Registry,
        usage: Callable[[], Mapping[int, tuple[int, int]]],
        clock: Callable[[], float],
        byte_size: Callable[[int], int],
    ) -> None:
        self._loader = loader
        self._registry = registry
        self._usage = usage
        self._clock = clock
        self._byte_size = byte_size
        self._loaded_s: dict[str, float] = {}
        self._sizes: dict[str, int] = {}
        self._measured: tuple[float, frozenset[int]] = (float("-inf"), frozenset())

    def loaded(self, name: str) -> None:
        """It has just been loaded, and what it is composed of perhaps."""
        for step in self._loader.dependents.needs(name):
            self._loaded_s.setdefault(step, self._clock())
        self._loaded_s[name] = self._clock()

    def forget_others(self) -> None:
        """What is loaded no more is new when it is loaded again."""
        for name in list(self._loaded_s):
            if not self._registry.ready_versions(name):
                del self._loaded_s[name]

    def now(
        self, sizes: Mapping[str, int], held: Collection[str], loading: Collection[str]
    ) -> list[Resident]:
        """`loading`: models that may be ready, and are loaded once more."""
        usage = self._usage()
        now_s = self._clock()
        needed = self._loader.order.needed()
        found = []
        for name in self._registry.names():
            ready = self._registry.ready_versions(name)
            if not ready:
                continue
            figures = [usage.get(one.loaded.handle, (0, 0)) for one in ready if one.loaded]
            loaded_s = self._loaded_s.setdefault(name, now_s)
            found.append(
                Resident(
                    name,
                    sizes.get(name, 0),
                    max(loaded_s, *(last_ns / 1e9 for _, last_ns in figures)),
                    any(count for count, _ in figures)
                    or (now_s - loaded_s < FRESH_S and not any(last for _, last in figures))
                    or name in needed
                    or name in loading,
                    name in held,
                    tuple(self._loader.dependents.of(name)),
                )
            )
        return found

    async def measure(self) -> dict[str, int]:
        """What each model's processes hold, those that are ending too; a moment ago, if nothing has
        come or gone since.
        """
        running = frozenset(self._loader.running)
        measured_s, measured = self._measured
        if running == measured and self._clock() - measured_s < MEASURED_FOR_S:
            return self._sizes
        pids: dict[str, set[int]] = {}
        for served in self._loader.running.values():
            pids.setdefault(served.name, set()).update(one["pid"] for one in served.processes())
        self._sizes = await asyncio.to_thread(
            lambda: {name: sum(map(self._byte_size, its)) for name, its in pids.items()}
        )
        self._measured = (self._clock(), running)
        return self._sizes

    async def measure_one(self, served: ServedVersion) -> int:
        """What the processes of a version hold that does not serve yet."""
        pids = {one["pid"] for one in served.processes()}
        return await asyncio.to_thread(lambda: sum(map(self._byte_size, pids)))
