"""Models on demand at the control plane: single-flight loads, back-off, keep-alive, the budget."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyserver.core.on_demand import NoRoom, OnDemand, Surroundings
from pyserver.core.role import Predecessor
from pyserver.errors import ServerError, UnavailableError
from pyserver.repository.override import LoadOverride
from tests.core.fakes import Behaviour, Bench, eventually, write_model
from tests.core.test_dependents import handle, states, write_ensemble

Make = Callable[..., Bench]


class Scene:
    """A core in explicit mode, and beside it an OnDemand whose clock and sizes the test sets."""

    def __init__(self, made: Bench, **settings: Any) -> None:
        self.bench = made
        self.now_s = 1000.0
        self.sizes: dict[str, int] = {}
        self.refused: list[tuple[str, str]] = []
        core = made.core
        self.on_demand = OnDemand(
            replace(core.settings, **settings),
            core.loader,
            core.registry,
            Surroundings(
                core.sources.scan,
                core.sources.stamp,
                made.engine.usage,
                lambda name: None,
                self._refuse,
            ),
            clock=lambda: self.now_s,
            byte_size=self._byte_size,
        )

    def _refuse(self, name: str, error: ServerError) -> None:
        assert isinstance(error, UnavailableError)
        self.refused.append((name, str(error)))

    def _byte_size(self, pid: int) -> int:
        for one in self.bench.supervisor.instances:
            if one.pid == pid and one.alive:
                return self.sizes.get(str(one.model.get("name")), 0)
        return 0

    def used(self, name: str, in_flight: int = 0) -> None:
        self.bench.engine.used[handle(self.bench, name)] = (in_flight, int(self.now_s * 1e9))

    def spawned(self, name: str) -> int:
        return sum(one.model.get("name") == name for one in self.bench.supervisor.instances)

    async def bring(self, *names: str) -> None:
        """One after the other, a second apart: none is fresh any more."""
        for name in names:
            await self.on_demand.bring(name)
            self.now_s += 2


async def scene(bench: Make, tmp_path: Path, *names: str, **settings: Any) -> Scene:
    for name in names:
        write_model(tmp_path, name)
    made = bench(model_control_mode="explicit")
    await made.start()
    defaults = {"on_demand_keep_alive_secs": 0, "on_demand_memory_limit_byte_size": 0}
    scene = Scene(made, **(defaults | settings))
    scene.on_demand.open(made.core.sources.scan(), [])
    return scene


async def test_all_who_want_a_model_wait_for_one_load(bench: Make, tmp_path: Path) -> None:
    one = await scene(bench, tmp_path, "a")
    for _ in range(3):
        one.on_demand.want("a")
    await asyncio.gather(*(one.on_demand.bring("a") for _ in range(3)))
    assert states(one.bench, "a") == ["READY"]
    assert one.spawned("a") == 1
    one.on_demand.want("a")
    assert one.refused == []
    one.on_demand.close()


async def test_what_is_in_no_repository_is_refused(bench: Make, tmp_path: Path) -> None:
    one = await scene(bench, tmp_path, "a")
    assert one.on_demand.loadable("a")
    assert not one.on_demand.loadable("b")
    one.on_demand.want("b")
    assert one.refused == [("b", "model 'b' cannot be loaded now")]
    write_model(tmp_path, "b")
    await one.on_demand.tick()
    assert one.on_demand.loadable("b")
    one.on_demand.close()


async def test_a_failed_load_is_not_tried_again_at_once(bench: Make, tmp_path: Path) -> None:
    one = await scene(bench, tmp_path, "a")
    one.bench.supervisor.behaviours["a"] = Behaviour(fail_load="no weights")
    await one.on_demand.bring("a")
    assert "failed to load model 'a' on demand" in one.refused[0][1]
    assert "no weights" in one.refused[0][1]
    for _ in range(5):
        await one.on_demand.bring("a")
    assert one.spawned("a") == 1
    assert "the next attempt: in 1.0 s, or when its files change" in one.refused[-1][1]
    one.now_s += 1.0
    await one.on_demand.bring("a")
    assert one.spawned("a") == 2
    one.now_s += 1.5  # the second time it is twice as long
    await one.on_demand.bring("a")
    assert one.spawned("a") == 2
    one.bench.supervisor.behaviours.clear()
    os.utime(tmp_path / "a" / "config.pbtxt", ns=(2 * 10**18, 2 * 10**18))
    await one.on_demand.bring("a")
    assert states(one.bench, "a") == ["READY"]
    one.on_demand.close()


async def test_a_client_s_own_load_does_not_wait(bench: Make, tmp_path: Path) -> None:
    one = await scene(bench, tmp_path, "a")
    one.bench.supervisor.behaviours["a"] = Behaviour(fail_load="no weights")
    await one.on_demand.bring("a")
    with pytest.raises(ServerError, match=r"^load failed for model 'a': version 1 is at"):
        await one.on_demand.load("a")
    assert one.spawned("a") == 2
    one.bench.supervisor.behaviours.clear()
    await one.on_demand.load("a")
    assert states(one.bench, "a") == ["READY"]
    one.on_demand.close()


async def test_the_keep_alive_ends_what_nobody_uses(bench: Make, tmp_path: Path) -> None:
    one = await scene(bench, tmp_path, "a", "b", "c", on_demand_keep_alive_secs=10)
    await one.bring("a", "b")
    await one.on_demand.load("c", LoadOverride('{"backend": "identity"}', {}))
    one.now_s += 7
    one.used("b")
    one.now_s += 3
    await one.on_demand.tick()
    await eventually(lambda: states(one.bench, "a", "b", "c") == ["UNAVAILABLE", "READY", "READY"])
    one.used("b", in_flight=1)
    one.now_s += 100
    await one.on_demand.tick()
    assert states(one.bench, "b", "c") == ["READY", "READY"]
    assert one.on_demand.held() == {"c"}  # its folder alone would not bring it back
    await one.on_demand.unload("c")
    one.used("b")
    one.now_s += 10
    await one.on_demand.tick()
    await eventually(lambda: not one.bench.engine.models)
    assert one.on_demand.counters()["expired"] == 2
    one.on_demand.close()


async def test_an_ensemble_keeps_its_steps_and_leaves_first(bench: Make, tmp_path: Path) -> None:
    write_ensemble(tmp_path, "both", "a", "b")
    one = await scene(bench, tmp_path, "a", "b", on_demand_keep_alive_secs=10)
    await one.bring("a", "both")
    one.now_s += 7
    one.used("both")
    one.now_s += 9
    await one.on_demand.tick()
    assert states(one.bench, "a", "b", "both") == ["READY"] * 3
    one.now_s += 1
    await one.on_demand.tick()
    await eventually(lambda: not one.bench.engine.models)
    assert [one.bench.core.registry.version(name, 1).reason for name in ("both", "a")] == [
        "unloaded",
        "unloaded",
    ]
    one.on_demand.close()


async def test_room_is_made_by_known_sizes_before_a_load(bench: Make, tmp_path: Path) -> None:
    one = await scene(bench, tmp_path, "a", "b", "c", on_demand_memory_limit_byte_size=25)
    one.sizes = dict.fromkeys("abc", 10)
    await one.bring("a", "b")
    one.used("a")
    await one.bring("c")  # of unknown size: b leaves when it is known
    await eventually(lambda: states(one.bench, "a", "b", "c") == ["READY", "UNAVAILABLE", "READY"])
    seen: list[list[str]] = []
    held = asyncio.Event()
    one.bench.supervisor.behaviours["b"] = Behaviour(hold_load=held)
    task = asyncio.create_task(one.on_demand.bring("b"))
    await eventually(lambda: one.spawned("b") == 2)
    seen.append(states(one.bench, "a", "c"))
    held.set()
    await task
    assert seen == [["UNAVAILABLE", "READY"]]  # a had left before b's process began
    assert one.on_demand.counters()["evictions"] == 2
    one.on_demand.close()


async def test_what_is_in_use_stays_and_the_load_waits_for_room(
    bench: Make, tmp_path: Path
) -> None:
    one = await scene(bench, tmp_path, "a", "b", on_demand_memory_limit_byte_size=15)
    one.sizes = dict.fromkeys("ab", 10)
    await one.bring("a", "b")
    await eventually(lambda: states(one.bench, "a") == ["UNAVAILABLE"])
    one.used("b", in_flight=1)
    one.on_demand.want("a")
    await asyncio.sleep(0)
    task = asyncio.create_task(one.on_demand.bring("a"))
    await eventually(lambda: one.on_demand.counters()["loading"] == ["a"])
    one.now_s += 60
    assert states(one.bench, "b") == ["READY"]
    assert one.spawned("a") == 1
    one.used("b")
    await task
    assert states(one.bench, "a") == ["READY"]
    one.used("a", in_flight=1)
    with pytest.raises(NoRoom, match="there is no room for model 'b': it needs 10 bytes, 10 of"):
        task = asyncio.create_task(one.on_demand.load("b"))
        await asyncio.sleep(0)  # it has begun
        one.now_s += 121
        await task
    one.on_demand.close()


async def test_what_is_too_large_together_with_its_steps_is_unloaded_and_refused(
    bench: Make, tmp_path: Path
) -> None:
    write_ensemble(tmp_path, "both", "a", "b")
    one = await scene(bench, tmp_path, "a", "b", on_demand_memory_limit_byte_size=15)
    one.sizes = dict.fromkeys("ab", 10)
    await one.on_demand.bring("both")
    text = (
        "model 'both' alone needs 20 bytes, more than the models may hold together:"
        " --on-demand-memory-limit-byte-size=15"
    )
    assert one.refused == [("both", text)]
    await eventually(lambda: not one.bench.engine.models)
    one.now_s += 10**6
    await one.on_demand.bring("both")
    assert one.refused[-1] == ("both", f"{text} (the next attempt: when its files change)")
    one.on_demand.close()


async def test_the_end_leaves_no_load_behind(bench: Make, tmp_path: Path) -> None:
    one = await scene(bench, tmp_path, "a")
    one.bench.supervisor.behaviours["a"] = Behaviour(hold_load=asyncio.Event())
    one.on_demand.want("a")
    await eventually(lambda: "load" in [op for i in one.bench.supervisor.alive for op in i.said])
    one.on_demand.close()
    await one.on_demand.closed()
    assert one.bench.supervisor.alive == []
    one.on_demand.want("a")
    assert one.refused == [("a", "model 'a' cannot be loaded now")]


async def test_frontends_are_told_what_can_be_loaded_and_what_was_not(
    bench: Make, tmp_path: Path
) -> None:
    for name in ("a", "b", "pinned"):
        write_model(tmp_path, name)
    made = bench(
        Predecessor(("a",)),  # the core before this one had it; it comes back when it is asked for
        model_control_mode="on-demand",
        load_model=("pinned",),
        on_demand_memory_limit_byte_size=0,
    )
    frontend = await made.add_frontend(0)
    await made.start()
    await eventually(lambda: "serve" in frontend.heard)
    assert states(made, "pinned") == ["READY"]
    assert {name: one["loadable"] for name, one in frontend.models.items()} == dict.fromkeys(
        ("a", "b", "pinned"), True
    )
    assert frontend.models["a"]["versions"] == []
    assert made.core.reason_not_ready() == ""
    frontend.control.send({"op": "want", "name": "a"})
    await eventually(lambda: frontend.models["a"]["versions"])
    await eventually(lambda: frontend.states("a") == {1: "READY"})
    made.supervisor.behaviours["b"] = Behaviour(fail_load="no weights")
    frontend.control.send({"op": "want", "name": "b"})
    await eventually(lambda: "not_loaded" in frontend.heard)
    assert made.core.reason_not_ready() == ""
    assert made.core.on_demand is not None
    made.core.begin_exit()
    assert not made.core.on_demand.loadable("a")
