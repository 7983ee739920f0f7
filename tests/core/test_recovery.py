"""What happens when instances and frontends die, at every point of their lives."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pyserver.core.backoff import RestartPolicy
from pyserver.core.role import Predecessor
from pyserver.errors import ServerError
from pyserver.settings import URGENT
from tests.core.fakes import Behaviour, Bench, eventually, write_model

Make = Callable[..., Bench]


async def started(bench: Make, tmp_path: Path, **model: object) -> Bench:
    write_model(tmp_path, "m", **model)  # type: ignore[arg-type]
    made = bench()
    frontend = await made.add_frontend(0)
    await made.start()
    await eventually(lambda: "serve" in frontend.heard)
    return made


@pytest.mark.parametrize(
    ("signal", "exit_code", "oom", "cause"),
    [
        (9, None, False, "was killed by signal 9 (SIGKILL)"),
        (9, None, True, "was killed by the system because memory ran out"),
        (11, None, False, "was killed by signal 11 (SIGSEGV)"),
        (None, 3, False, "exited with code 3"),
    ],
)
async def test_a_dead_instance_is_named_with_its_cause_and_comes_back(
    bench: Make, tmp_path: Path, signal: int | None, exit_code: int | None, oom: bool, cause: str
) -> None:
    made = await started(bench, tmp_path, backend="python", count=2)
    [one, other] = made.supervisor.alive
    lost = one.peers[0]
    one.die(signal, exit_code, oom)
    await eventually(lambda: made.engine.retired)
    name = "m_0_0" if "m_0_0" in made.engine.retired[0][1] else "m_0_1"
    assert made.engine.retired == [
        (lost, f"instance '{name}' of model 'm' version 1 {cause} while it executed the request")
    ]
    assert made.core.registry.find("m").version == 1  # the other instance serves
    await eventually(lambda: len(made.supervisor.alive) == 2)
    back = made.supervisor.instances[-1]
    await eventually(lambda: back.said[-1:] == ["join"])
    assert back.model["auto_complete"] is False
    assert back.regions == {0, made.frontends[0].peer}
    [peers] = made.engine.instances.values()
    await eventually(lambda: peers == {other.peers[0], back.peers[0]})
    assert back.peers[0] in made.frontends[0].regions
    await eventually(lambda: lost not in made.frontends[0].regions)


async def test_a_crash_loop_ends_with_the_version_unavailable(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path)
    made.supervisor.behaviours["m"] = Behaviour(die_at="load")
    made.supervisor.alive[0].die(11)
    version = made.core.registry.version("m", 1)
    await eventually(lambda: version.state == "UNAVAILABLE", timeout_s=10)
    assert version.reason == (
        "Unavailable: instance 'm_0_0' ended 5 times within 30 s; the last time it"
        " was killed by signal 11 (SIGSEGV)"
    )
    [(_, text)] = await eventually(lambda: made.engine.aborted)
    assert text == version.reason.removeprefix("Unavailable: ")
    await eventually(lambda: not made.supervisor.alive and not made.engine.models)
    await eventually(lambda: made.frontends[0].states("m") == {1: "UNAVAILABLE"})
    assert len(made.supervisor.instances) == 5
    await eventually(lambda: not made.frontends[0].health["ready"])


async def test_kills_from_outside_are_no_crash_loop(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path)
    for _ in range(8):
        await eventually(lambda: made.supervisor.of("m") and made.engine.instances[1])
        made.supervisor.of("m")[0].die(9)
        await eventually(lambda: not made.supervisor.of("m"))
    await eventually(lambda: made.supervisor.of("m"))
    assert made.core.registry.find("m")


async def test_a_restart_that_cannot_load_is_tried_again(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path)
    made.supervisor.behaviours["m"] = Behaviour(fail_load="disk is slow")
    made.supervisor.alive[0].die(9)
    await eventually(lambda: len(made.supervisor.instances) == 2)
    await eventually(lambda: not made.supervisor.alive)
    made.supervisor.behaviours["m"] = Behaviour()
    await eventually(lambda: made.engine.instances[1])
    assert len(made.supervisor.alive) == 1


async def test_unload_during_a_restart_leaves_nothing(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path)
    made.supervisor.behaviours["m"] = Behaviour(hold_load=asyncio.Event())
    made.supervisor.alive[0].die(9)
    await eventually(lambda: any("load" in one.said for one in made.supervisor.alive))
    await made.core.loader.unload("m")
    await eventually(lambda: not made.supervisor.alive and not made.engine.models)
    assert [peer for peer, kind in made.engine.peers.items() if kind == "instance"] == []


async def test_an_instance_that_breaks_the_protocol_is_killed(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path)
    [instance] = made.supervisor.alive
    made.engine.say("broken", instance.peers[0], "it sent a record of unknown kind")
    await eventually(lambda: not instance.alive)
    await eventually(lambda: len(made.supervisor.alive) == 1)


async def test_a_new_frontend_takes_the_dead_ones_place(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path)
    [first] = made.frontends
    [instance] = made.supervisor.alive
    first.control.close()
    await eventually(lambda: made.engine.retired)
    assert made.engine.retired[0][0] == first.peer
    second = await made.add_frontend(0)
    await eventually(lambda: "serve" in second.heard)
    assert second.peer != first.peer
    await eventually(lambda: instance.regions == {0, second.peer})
    assert second.regions == {0, *instance.peers}
    assert second.states("m") == {1: "READY"}


async def test_a_frontend_that_exited_is_forgotten_even_if_its_socket_lives(
    bench: Make, tmp_path: Path
) -> None:
    made = await started(bench, tmp_path)
    exited = {"op": "frontend_exited", "index": 0, "reason": "signal 9"}
    made.supervisor.control.send(exited)
    await eventually(lambda: made.engine.retired)
    assert len(made.core.frontends) == 0


async def test_a_frontend_that_does_not_confirm_holds_up_nobody_for_long(
    bench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyserver.core.peers.CONFIRM_WITHIN_S", 0.05)
    made = bench(model_control_mode="explicit")
    write_model(tmp_path, "m")
    await made.start()
    stuck = await made.add_frontend(0)
    await eventually(lambda: "serve" in stuck.heard)
    stuck.confirms = False
    await made.core.loader.load("m")
    assert made.core.registry.find("m")


async def test_frontends_tell_their_counters(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path)
    figures = await made.core.counters()
    assert figures["frontends"] == {"0": {"requests": 7}}
    assert figures["engine"] == {"peers": 2, "models": 1}
    [instance] = figures["instances"]
    assert (instance["model"], instance["name"], instance["pid"]) == ("m", "m_0_0", 1000)


async def test_a_frontend_that_breaks_the_protocol_is_ended(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path)
    made.engine.say("broken", made.frontends[0].peer, "its ring is broken")
    kill = await eventually(lambda: made.supervisor.first("kill_frontend"))
    assert kill["index"] == 0
    assert len(made.core.frontends) == 0


async def test_a_core_that_takes_over_loads_what_its_predecessor_had(
    bench: Make, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        write_model(tmp_path, name)
    first = bench(model_control_mode="explicit", load_model=("a",))
    await first.start()
    await first.core.loader.load("b")
    await first.core.loader.load("c")
    await first.core.loader.unload("a")
    await eventually(lambda: first.supervisor.heard[-1]["op"] != "spawn")
    remembered = [one["models"] for one in first.supervisor.heard if one["op"] == "remember"]
    assert remembered == [["a"], ["a", "b"], ["a", "b", "c"], ["b", "c"]]
    (tmp_path / "c" / "config.pbtxt").unlink()
    second = bench(Predecessor(("b", "c")), model_control_mode="explicit", load_model=("a",))
    await second.start()
    assert await eventually(lambda: second.supervisor.first("ready"))  # though c is gone
    assert second.supervisor.first("fatal") is None
    assert [one.model["name"] for one in second.supervisor.alive] == ["b"]


@pytest.mark.parametrize(
    ("deaths", "delays"),
    [
        ([(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)], [0, 0.1, 0.2, 0.4, None]),
        ([(0, 0), (0, 10), (0, 20), (0, 28), (0, 31)], [0, 0.1, 0.2, 0.4, 0.8]),
        ([(1, 0), (12, 13), (0, 14)], [0, 0, 0.1]),
        ([(9, t * 40) for t in range(9)], [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]),
    ],
)
def test_the_delays_of_crashes(
    deaths: list[tuple[float, float]], delays: list[float | None]
) -> None:
    policy = RestartPolicy()
    got = [policy.delay_after_death(lived_s=lived, now_s=now) for lived, now in deaths]
    assert got == pytest.approx(delays)


def test_the_delays_after_kills_from_outside() -> None:
    policy = RestartPolicy()
    got = [policy.delay_after_death(lived_s=0, now_s=0, killed_from_outside=True) for _ in range(9)]
    assert got == pytest.approx([0, 0.1, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4])


async def test_an_execute_that_does_not_end_is_ended_and_named(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path, backend="python", execute_timeout_secs="0.25")
    [handle] = made.engine.models
    assert made.engine.models[handle]["execute_limit_ns"] == 250_000_000
    [hanging] = made.supervisor.alive
    made.engine.late.add(hanging.peers[0])
    await eventually(lambda: not hanging.alive)
    await eventually(lambda: made.engine.retired)
    assert made.engine.retired[0][1] == (
        "instance 'm_0_0' of model 'm' version 1 did not finish execute within 0.25 s and was"
        " killed while it executed the request"
    )
    await eventually(lambda: made.engine.instances[handle])


async def test_a_load_that_does_not_end_fails_in_time(bench: Make, tmp_path: Path) -> None:
    write_model(tmp_path, "m", load_timeout_secs="0.2")
    made = bench(model_control_mode="explicit")
    made.supervisor.behaviours["m"] = Behaviour(hold_load=asyncio.Event())
    await made.start()
    with pytest.raises(ServerError, match=r"was not loaded within 0\.2 s \(--load-timeout-secs"):
        await made.core.loader.load("m")
    assert not made.supervisor.alive and not made.engine.models
    made.supervisor.behaviours["m"] = Behaviour()
    await made.core.loader.load("m")


async def test_a_start_after_a_death_that_does_not_end_is_tried_again(
    bench: Make, tmp_path: Path
) -> None:
    made = await started(bench, tmp_path, load_timeout_secs="0.2")
    made.supervisor.behaviours["m"] = Behaviour(hold_load=asyncio.Event())
    made.supervisor.alive[0].die(9)
    await eventually(lambda: len(made.supervisor.instances) == 3)
    made.supervisor.behaviours["m"] = Behaviour()
    await eventually(lambda: made.engine.instances[1])
    assert len(made.supervisor.alive) == 1


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (
            {"execute_timeout_secs": "soon"},
            "model 'm': parameter 'execute_timeout_secs' must be a number of seconds, or 0 for no"
            " limit, not 'soon'",
        ),
        (
            {"load_timeout_secs": "-1"},
            "model 'm': parameter 'load_timeout_secs' must be a number of seconds, or 0 for no"
            " limit, not '-1'",
        ),
        (
            {"idempotent": "yes"},
            "model 'm': parameter 'idempotent' must be 'true' or 'false', not 'yes'",
        ),
    ],
)
async def test_limits_that_are_none_are_refused(
    bench: Make, tmp_path: Path, parameters: dict[str, str], text: str
) -> None:
    write_model(tmp_path, "m", **parameters)
    made = bench(model_control_mode="explicit")
    await made.start()
    with pytest.raises(ServerError) as refused:
        await made.core.loader.load("m")
    assert text in str(refused.value)


async def test_who_takes_the_place_of_a_dead_one_gives_way_to_nobody(
    bench: Make, tmp_path: Path
) -> None:
    made = await started(bench, tmp_path)
    made.supervisor.alive[0].die(9)
    await eventually(lambda: len(made.supervisor.instances) == 2)
    spawned = [one["env"] for one in made.supervisor.heard if one["op"] == "spawn"]
    assert [URGENT in environment for environment in spawned] == [False, True]


async def test_what_a_template_loads_for_all_is_within_the_limit(
    bench: Make, tmp_path: Path
) -> None:
    write_model(tmp_path, "m", backend="python", load_timeout_secs="0.2", fork_instances="true")
    made = bench(model_control_mode="explicit")
    made.supervisor.behaviours["m"] = Behaviour(ignores_preload=True)
    await made.start()
    with pytest.raises(ServerError, match=r"was not loaded within 0\.2 s"):
        await made.core.loader.load("m")
    await eventually(lambda: not made.supervisor.alive and not made.engine.models)
