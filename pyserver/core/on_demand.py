"""--model-control-mode=on-demand: models are loaded by the first request for them, and leave again.

    cold ──request──> loading ──> loaded ──idle for the keep-alive, or room is needed──> cold
      ^                  │ failed: all who wait are told why, and for a while so is who comes
      └──────────────────┘

All requests for a model wait for one load. Memory is what the processes have, read from /proc; a
model with requests in flight stays. What decides is in `eviction.py`, what waits at the frontends
in csrc/gateway/waiting_room.h.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyserver.core.eviction import (
    Resident,
    byte_sizes,
    expired,
    may_leave,
    retry_delay_s,
    to_evict,
)
from pyserver.core.model_loader import ModelLoader
from pyserver.core.model_source import Stamp
from pyserver.core.residents import Residents
from pyserver.core.served_version import ServedVersion
from pyserver.errors import InternalError, ServerError, UnavailableError
from pyserver.observe.memory import proportional_byte_size
from pyserver.repository.override import LoadOverride
from pyserver.repository.registry import Registry
from pyserver.repository.scan import ModelEntry, Scan
from pyserver.repository.storage import StorageError
from pyserver.settings import Settings

log = logging.getLogger(__name__)

TICK_S: Final = 0.5
MEASURE_EVERY_S: Final = 10.0
# While room is waited for.
LOOK_EVERY_S: Final = 0.1
NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`usage()` gives (in flight, monotonic ns of the last use) by the engine's handle. `changed`
    hears of a model that can or cannot be loaded any more, `refuse` of one that was not loaded for
    those who wait for it.
    """

    scan: Callable[[], Scan]
    stamp: Callable[[ModelEntry], Stamp]
    usage: Callable[[], Mapping[int, tuple[int, int]]]
    changed: Callable[[str], None]
    refuse: Callable[[str, ServerError], None]


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    in_a_row: int
    again_s: float
    stamp: Stamp | None  # of the model's files


class TooLarge(UnavailableError):
    """The model alone needs more than all models may."""


class NoRoom(UnavailableError):
    """What would have to leave is in use."""


class OnDemand:
    """Belongs to the control plane's loop; may stand where a ModelLoader is asked by clients."""

    def __init__(
        self,
        settings: Settings,
        loader: ModelLoader,
        registry: Registry,
        surroundings: Surroundings,
        *,
        clock: Callable[[], float] = time.monotonic,
        byte_size: Callable[[int], int] = proportional_byte_size,
    ) -> None:
        """`clock` gives seconds of the clock that `usage` counts in; `byte_size` the memory of a
        process, by pid.
        """
        self._settings = settings
        self._limit = settings.on_demand_memory_limit_byte_size
        self._loader = loader
        self._registry = registry
        self._around = surroundings
        self._clock = clock
        self._residents = Residents(loader, registry, surroundings.usage, clock, byte_size)
        self._known: dict[str, ModelEntry] = {}
        self._held: set[str] = set()
        self._pinned: frozenset[str] = frozenset()
        self._admitting: list[str] = []  # being loaded
        self._sizes: dict[str, int] = {}  # as last measured, of those that have left too
        self._reserved: dict[object, int] = {}  # for loads under way
        self._failures: dict[str, _Failure] = {}
        self._too_large: dict[str, TooLarge] = {}  # found while they were loaded
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._wanted: set[str] = set()  # since its load began
        self._closed = False
        self._ticking: asyncio.Task[None] | None = None
        self._next_measure_s = self._next_scan_s = 0.0
        self._counters = dict.fromkeys(("loads", "failed_loads", "evictions", "expired"), 0)

    # --- the start and the end ---

    def open(self, found: Scan, pinned: list[str]) -> None:
        """`pinned` are loaded by whoever calls, and stay."""
        self._pinned = frozenset(pinned)
        self._held.update(pinned)
        self._take_in(found)
        self._ticking = asyncio.get_running_loop().create_task(self._tick_on())

    def close(self) -> None:
        """Nothing is loaded any more; who waits has been told by the frontends."""
        self._closed = True
        for task in (*self._loads.values(), *filter(None, [self._ticking])):
            task.cancel()

    async def closed(self) -> None:
        """After close(): returns when the loads that it has ended have left nothing behind."""
        await asyncio.gather(*self._loads.values(), return_exceptions=True)

    # --- what others want to know ---

    def loadable(self, name: str) -> bool:
        """Whether a request for it is worth waiting for."""
        return name in self._known and not self._closed

    def held(self) -> frozenset[str]:
        """The models that --load-model names, or that were loaded with a config of their own."""
        return frozenset(self._held)

    def names(self) -> list[str]:
        return list(self._known)

    def counters(self) -> dict[str, Any]:
        return {
            **self._counters,
            "loading": sorted(self._loads),
            "memory_limit_byte_size": self._limit,
            "byte_sizes": dict(self._sizes),
        }

    # --- requests ---

    def want(self, name: str) -> None:
        """A frontend has requests for it. They are told by the model's entry, or by `refuse`."""
        self._begin(name)

    async def bring(self, name: str) -> None:
        """Returns when the model serves, or was not loaded."""
        task = self._begin(name)
        if task is not None:
            await asyncio.shield(task)

    def _begin(self, name: str) -> asyncio.Task[None] | None:
        if self._registry.ready_versions(name):
            return None
        if not self.loadable(name):
            self._around.refuse(name, UnavailableError(f"model '{name}' cannot be loaded now"))
            return None
        self._wanted.add(name)
        task = self._loads.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load_for_requests(name))
            self._loads[name] = task
        return task

    async def _load_for_requests(self, name: str) -> None:
        try:
            while name in self._wanted:  # anew, should it be unloaded at once
                self._wanted.discard(name)
                await self._refuse_again(name)
                await self._admit(name, None)
                if self._registry.ready_versions(name):
                    return
            raise UnavailableError(f"model '{name}' was unloaded as soon as it was loaded")
        except UnavailableError as error:
            self._around.refuse(name, error)
        except ServerError:
            self._around.refuse(name, UnavailableError(self._failures[name].reason))
        except Exception as error:  # a bug of ours: nobody must wait for ever
            log.exception("loading '%s' on demand failed", name)
            await self._failed(name, InternalError(f"{type(error).__name__}: {error}"))
            self._around.refuse(name, UnavailableError(self._failures[name].reason))
        finally:
            self._loads.pop(name, None)
            self._wanted.discard(name)

    async def _refuse_again(self, name: str) -> None:
        """For a while after a failure its reason is the answer, unless the model's files change."""
        failure = self._failures.get(name)
        left_s = failure.again_s - self._clock() if failure is not None else 0.0
        if failure is None or left_s <= 0:
            return
        if await self._stamp(name) != failure.stamp:
            self._failures.pop(name, None)
            return
        until = "when its files change"
        if left_s != NEVER:
            until = f"in {left_s:.1f} s, or {until}"
        raise UnavailableError(f"{failure.reason} (the next attempt: {until})")

    # --- clients' own loads and unloads ---

    async def load(self, name: str, override: LoadOverride | None = None) -> None:
        """As ModelLoader.load, within the budget. With an override it stays until it is unloaded:
        its folder alone would not bring it back.
        """
        self._failures.pop(name, None)
        await self._admit(name, override)
        if override is not None:
            self._held.add(name)
        if name not in self._known:
            self._take_in(await asyncio.to_thread(self._around.scan))

    async def unload(self, name: str, *, dependents: bool = False) -> None:
        """As ModelLoader.unload; the next request loads it again."""
        if name not in self._pinned:
            self._held.discard(name)
        await self._loader.unload(name, dependents=dependents)

    async def _admit(self, name: str, override: LoadOverride | None) -> None:
        self._admitting.append(name)
        try:
            await self._load_in_room(name, override)
            self._counters["loads"] += 1
            self._failures.pop(name, None)
            await self._judge(name)
        finally:
            self._admitting.remove(name)

    async def _load_in_room(self, name: str, override: LoadOverride | None) -> None:
        room = object()
        self._too_large.pop(name, None)
        try:
            await self._make_room(name, room)
            await self._loader.load(name, override)
            self._residents.loaded(name)
        except NoRoom:
            raise
        except ServerError as error:
            await self._failed(name, self._too_large.pop(name, error))
            raise
        finally:
            self._reserved.pop(room, None)

    async def _failed(self, name: str, error: ServerError) -> None:
        """No other load is tried for a while; of what is too large, until its files change."""
        before = self._failures.get(name)
        in_a_row = 1 + (before.in_a_row if before is not None else 0)
        again_s = self._clock() + retry_delay_s(in_a_row)
        reason = f"failed to load model '{name}' on demand: {getattr(error, 'reason', error)}"
        if isinstance(error, TooLarge):
            again_s, reason = NEVER, str(error)
        stamp = await self._stamp(name)
        self._failures[name] = _Failure(reason.rstrip(), in_a_row, again_s, stamp)
        self._counters["failed_loads"] += 1

    async def _stamp(self, name: str) -> Stamp | None:
        entry = self._known.get(name)
        if entry is None:
            return None
        try:
            return await asyncio.to_thread(self._around.stamp, entry)
        except StorageError:
            return None

    # --- memory ---

    async def _make_room(self, name: str, room: object) -> None:
        """Evicts until what the model took last time fits in beside what runs and what is being
        loaded; waits while those that would have to leave are in use.
        """
        if not self._limit:
            return
        need = byte_sizes((name, *self._loader.dependents.needs(name)), self._sizes)
        self._reserved[room] = need
        # Before those who wait are given up without this reason.
        end_s = self._clock() + 0.9 * self._settings.on_demand_load_timeout_secs
        while True:
            sizes = await self._residents.measure()
            residents = self._now(sizes)
            taken = sum(sizes.values())
            excess = taken + sum(self._reserved.values()) - self._limit
            if excess <= 0:
                return
            excess -= taken - sum(one.byte_size for one in residents)  # what is leaving
            victims = to_evict(residents, excess) if excess > 0 else []
            if byte_sizes(victims, sizes) >= excess > 0:
                await self._evict(victims, f"to make room for '{name}'")
            elif self._clock() >= end_s:
                raise NoRoom(
                    f"there is no room for model '{name}': it needs {need} bytes,"
                    f" {taken} of --on-demand-memory-limit-byte-size={self._limit} are taken by"
                    f" models that are in use or pinned; try again later"
                )
            await asyncio.sleep(LOOK_EVERY_S)

    async def accept(self, served: ServedVersion) -> None:
        """A version is loaded, and not served yet: raises TooLarge if it will not be."""
        if not self._limit:
            return
        need = await self._residents.measure_one(served)
        if need > self._limit:
            self._too_large[served.name] = self._alone_too_large(served.name, need)
            raise self._too_large[served.name]

    def _alone_too_large(self, name: str, need: int) -> TooLarge:
        return TooLarge(
            f"model '{name}' alone needs {need} bytes, more than the models may hold together:"
            f" --on-demand-memory-limit-byte-size={self._limit}"
        )

    async def _judge(self, name: str) -> None:
        """Now that it is loaded, with what it is composed of: others leave for it, or it does."""
        names = {name, *self._loader.dependents.needs(name)}
        sizes = await self._residents.measure()
        self._sizes |= {one: sizes[one] for one in names if one in sizes}
        need = byte_sizes(names, sizes)
        if self._limit and need > self._limit:
            await self._loader.unload(name, dependents=True)
            error = self._alone_too_large(name, need)
            log.error("%s; it was unloaded", error)
            await self._failed(name, error)
            raise error
        await self._trim(sizes)

    async def _trim(self, sizes: Mapping[str, int]) -> None:
        if not self._limit:
            return
        residents = self._now(sizes)
        excess = sum(one.byte_size for one in residents) + sum(self._reserved.values())
        if excess > self._limit:
            victims = to_evict(residents, excess - self._limit)
            if byte_sizes(victims, sizes) < excess - self._limit:
                self._next_measure_s = 0.0  # as soon as one is not in use any more
            await self._evict(victims, "to keep to the memory limit")

    async def _evict(self, names: list[str], why: str) -> None:
        for name in names:
            if await self._unload_if_idle(name, why):
                self._counters["evictions"] += 1

    async def _unload_if_idle(self, name: str, why: str) -> bool:
        """It may have been used, or unloaded, since it was chosen."""
        if name not in may_leave(self._now({})):
            return False
        log.info("unloading '%s' %s", name, why)
        await self._loader.unload(name)
        return True

    def _now(self, sizes: Mapping[str, int]) -> list[Resident]:
        return self._residents.now(sizes, self._held, self._admitting)

    # --- time ---

    async def _tick_on(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self.tick()
            except Exception:  # the next tick may do better
                log.exception("looking after the models that are loaded failed")

    async def tick(self) -> None:
        """Unloads what has not been used, and what is too much; looks for new models."""
        now_s = self._clock()
        keep_s = self._settings.on_demand_keep_alive_secs
        self._residents.forget_others()
        if keep_s:
            for name in expired(self._now({}), keep_s, now_s):
                if await self._unload_if_idle(name, f"after {keep_s} s without a request"):
                    self._counters["expired"] += 1
        if now_s >= self._next_measure_s and self._limit:
            self._next_measure_s = now_s + MEASURE_EVERY_S
            sizes = await self._residents.measure()
            self._sizes |= {name: size for name, size in sizes.items() if size}
            await self._trim(sizes)
        if now_s >= self._next_scan_s:
            self._next_scan_s = now_s + self._settings.repository_poll_secs
            self._take_in(await asyncio.to_thread(self._around.scan))

    def _take_in(self, found: Scan) -> None:
        before = self._known
        self._known = dict(found.models)
        for name in before.keys() ^ self._known.keys():
            self._around.changed(name)
