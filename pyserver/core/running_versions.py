"""All versions that run, by the engine's handle: those that serve, and those that are ending."""

from __future__ import annotations

from typing import Any

from pyserver.core.ensemble_load import EnsembleVersion
from pyserver.core.served_version import ServedVersion
from pyserver.observe.device_memory import DeviceMemory
from pyserver.observe.memory import memory_of

Served = ServedVersion | EnsembleVersion


class RunningVersions(dict[int, Served]):
    """What concerns them all, or the one that is asked for."""

    async def is_ready(self, handle: int) -> bool:
        """What the models' own hooks say of a version that is READY."""
        served = self.get(handle)
        return served is not None and await served.is_ready()

    def instances(self) -> list[dict[str, Any]]:
        """Each instance of each version, with the process that it lives in."""
        return [
            {"model": served.name, "version": served.version, **one}
            for served in self.values()
            for one in served.instances()
        ]

    def processes(self) -> list[dict[str, Any]]:
        """Each process once, however many instances live in it."""
        return [
            {"model": served.name, "version": served.version, **one}
            for served in self.values()
            for one in served.processes()
        ]

    def has_model(self, name: str) -> bool:
        return any(one.name == name for one in self.values())

    def broken_peer(self, peer: int) -> None:
        """A peer broke the shared-memory protocol; if it is an instance, its process is ended."""
        any(served.broken_peer(peer) for served in self.values())

    def shortest_execute_limit_s(self) -> float | None:
        """Of all models that have one."""
        limits = [one.limits.execute_s for one in self.values() if isinstance(one, ServedVersion)]
        return min((limit for limit in limits if limit is not None), default=None)

    def overdue(self, peer: int) -> None:
        """An instance has executed for longer than its model allows: its process is ended."""
        for served in self.values():
            if isinstance(served, ServedVersion):
                served.overdue(peer)

    def set_verbosity(self, level: int) -> None:
        """What --log-verbose is from now on, for the instances that run."""
        for served in self.values():
            if isinstance(served, ServedVersion):
                served.set_verbosity(level)


def with_memory(processes: list[dict[str, Any]], devices: DeviceMemory) -> list[dict[str, Any]]:
    """The same, with what each holds now. In a thread: the kernel takes its time over it."""
    devices.refresh()
    return [one | memory_of(one["pid"], devices) for one in processes]
