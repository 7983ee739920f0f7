"""Ensembles follow the models of their steps: unloaded, reloaded, given up, and come back."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyserver.core.model_source import LoadFailed
from pyserver.repository.override import LoadOverride
from pyserver.repository.registry import IndexEntry
from tests.core.fakes import Behaviour, Bench, eventually, write_model

Make = Callable[..., Bench]

_ENSEMBLE = """
platform: "ensemble"
max_batch_size: 8
input [ {{ name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }} ]
ensemble_scheduling {{ step [ {steps} ] }}
"""
_STEP = """
  {{ model_name: "{model}" model_version: {version}
     input_map {{ key: "INPUT0" value: "{given}" }}
     output_map {{ key: "OUTPUT0" value: "{made}" }} }}
"""


def write_ensemble(repository: Path, name: str, *models: str, version: int = -1) -> None:
    """A chain of the models."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    tensors = ["INPUT0", *(f"t{index}" for index in range(1, len(models))), "OUTPUT0"]
    steps = [
        _STEP.format(model=model, version=version, given=given, made=made)
        for model, given, made in zip(models, tensors, tensors[1:], strict=False)
    ]
    (folder / "config.pbtxt").write_text(_ENSEMBLE.format(steps=", ".join(steps)))


def rewrite(repository: Path, name: str, old: str, new: str) -> None:
    """Changes the config, and its time in any case."""
    config = repository / name / "config.pbtxt"
    before = config.stat().st_mtime_ns
    config.write_text(config.read_text().replace(old, new))
    os.utime(config, ns=(before + 10**9, before + 10**9))


async def started(bench: Make, tmp_path: Path, *loaded: str) -> Bench:
    """Has `outer`, an ensemble of `inner` and `b`, and `inner`, an ensemble of `a` and `b`."""
    for name in ("a", "b"):
        write_model(tmp_path, name)
    write_ensemble(tmp_path, "inner", "a", "b")
    write_ensemble(tmp_path, "outer", "inner", "b")
    made = bench(model_control_mode="explicit", load_model=loaded)
    frontend = await made.add_frontend(0)
    await made.start()
    await eventually(lambda: "serve" in frontend.heard)
    return made


def states(bench: Bench, *names: str) -> list[str]:
    return [bench.core.registry.version(name, 1).state.value for name in names]


def reason(bench: Bench, name: str) -> str:
    return bench.core.registry.version(name, 1).reason


def handle(bench: Bench, name: str) -> int:
    loaded = bench.core.registry.version(name, 1).loaded
    assert loaded is not None
    return loaded.handle


_ALL = ("a", "b", "inner", "outer")


async def test_ensembles_go_with_a_step_and_come_back_with_it(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path, "outer")
    assert states(made, *_ALL) == ["READY"] * 4
    await made.core.loader.unload("a")
    await eventually(lambda: states(made, "a", "inner", "outer") == ["UNAVAILABLE"] * 3)
    assert [reason(made, name) for name in ("a", "inner", "outer")] == ["unloaded"] * 3
    assert states(made, "b") == ["READY"]
    assert list(made.engine.models) == [handle(made, "b")]
    await made.core.loader.load("a")
    assert states(made, *_ALL) == ["READY"] * 4
    assert made.frontends[0].states("outer") == {1: "READY"}
    assert sorted(made.engine.models) == sorted(handle(made, name) for name in _ALL)


async def test_an_ensemble_that_is_unloaded_does_not_come_back(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path, "outer")
    await made.core.loader.unload("a")
    await made.core.loader.unload("inner")
    await made.core.loader.load("a")
    assert states(made, "a", "inner", "outer") == ["READY", "UNAVAILABLE", "UNAVAILABLE"]
    await made.core.loader.load("outer")  # brings it itself
    assert states(made, *_ALL) == ["READY"] * 4


async def test_a_step_that_does_not_fit_any_more_takes_the_ensemble_out(
    bench: Make, tmp_path: Path
) -> None:
    made = await started(bench, tmp_path, "outer")
    rewrite(tmp_path, "a", "TYPE_FP32", "TYPE_INT32")
    await made.core.loader.load("a")
    assert states(made, *_ALL) == ["READY", "READY", "UNAVAILABLE", "UNAVAILABLE"]
    text = (
        "Invalid argument: in ensemble inner, ensemble tensor INPUT0: inconsistent data type:"
        " TYPE_FP32 is inferred from model inner while TYPE_INT32 is inferred from model a"
    )
    assert reason(made, "inner") == text
    assert reason(made, "outer") == (
        "Invalid argument: ensemble 'outer' depends on 'inner' which has no loaded version."
        f" Model 'inner' version 1 is at UNAVAILABLE state: {text};"
    )
    await eventually(lambda: len(made.engine.models) == 2)
    assert made.frontends[0].states("outer") == {1: "UNAVAILABLE"}
    # Another misfit, another reason.
    rewrite(tmp_path, "a", "max_batch_size: 8", "max_batch_size: 2")
    await made.core.loader.load("a")
    assert "contains model a which only allows maximum batch size to be 2" in reason(made, "inner")
    rewrite(tmp_path, "a", "TYPE_INT32", "TYPE_FP32")
    rewrite(tmp_path, "a", "max_batch_size: 2", "max_batch_size: 8")
    await made.core.loader.load("a")
    assert states(made, *_ALL) == ["READY"] * 4
    assert [reason(made, name) for name in _ALL] == [""] * 4


async def test_a_waiting_ensemble_can_be_unloaded(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path, "inner")
    rewrite(tmp_path, "a", "TYPE_FP32", "TYPE_INT32")
    await made.core.loader.load("a")
    assert made.core.registry.reason_not_ready()
    await made.core.loader.unload("inner")
    assert reason(made, "inner") == "unloaded"
    assert not made.core.registry.reason_not_ready()
    rewrite(tmp_path, "a", "TYPE_INT32", "TYPE_FP32")
    await made.core.loader.load("a")
    assert states(made, "inner") == ["UNAVAILABLE"]


async def test_a_reload_lets_requests_that_have_begun_end_with_the_old_versions(
    bench: Make, tmp_path: Path
) -> None:
    made = await started(bench, tmp_path, "outer")
    old = [handle(made, name) for name in ("outer", "inner", "a")]
    rewrite(tmp_path, "a", "", "")
    made.engine.drains_at_once = False
    await made.core.loader.load("a")
    assert states(made, *_ALL) == ["READY"] * 4
    for count, each in enumerate(old, start=1):  # outermost first, the model itself last
        await eventually(lambda count=count: len(made.engine.drained) == count)
        assert made.engine.drained == old[:count]
        made.engine.say("drained", each)
    await eventually(lambda: len(made.engine.models) == 4)
    made.engine.drains_at_once = True


async def test_a_reload_that_fails_leaves_ensembles_as_they_are(
    bench: Make, tmp_path: Path
) -> None:
    made = await started(bench, tmp_path, "inner")
    before = handle(made, "inner")
    rewrite(tmp_path, "a", "", "")
    made.supervisor.behaviours["a"] = Behaviour(fail_load="broken weights")
    with pytest.raises(LoadFailed, match="broken weights"):
        await made.core.loader.load("a")
    rewrite(tmp_path, "inner", "TYPE_FP32", "TYPE_INT32")
    with pytest.raises(LoadFailed, match="inconsistent data type"):
        await made.core.loader.load("inner")
    assert handle(made, "inner") == before
    assert states(made, "inner") == ["READY"]


async def test_a_step_that_is_given_up_takes_the_ensemble_out(bench: Make, tmp_path: Path) -> None:
    made = await started(bench, tmp_path, "outer")
    made.supervisor.behaviours["a"] = Behaviour(die_at="load")
    made.supervisor.of("a")[0].die(11)
    await eventually(lambda: states(made, "a") == ["UNAVAILABLE"], timeout_s=10)
    assert states(made, "b", "inner", "outer") == ["READY", "UNAVAILABLE", "UNAVAILABLE"]
    assert reason(made, "inner") == (
        "Invalid argument: ensemble 'inner' depends on 'a' which has no loaded version. Model 'a'"
        " version 1 is at UNAVAILABLE state: Unavailable: instance 'a_0_0' ended 5 times within"
        " 30 s; the last time it was killed by signal 11 (SIGSEGV);"
    )
    await eventually(lambda: list(made.engine.models) == [handle(made, "b")])
    assert made.core.registry.reason_not_ready()
    made.supervisor.behaviours["a"] = Behaviour()
    await made.core.loader.load("a")
    assert states(made, *_ALL) == ["READY"] * 4


async def test_another_version_of_a_step_that_is_given_up_serves_the_ensemble(
    bench: Make, tmp_path: Path
) -> None:
    write_model(tmp_path, "a", versions=(1, 2), more="version_policy: { all: {} }")
    write_ensemble(tmp_path, "newest", "a")
    write_ensemble(tmp_path, "second", "a", version=2)
    made = bench(model_control_mode="explicit", load_model=("newest", "second"))
    await made.start()
    version = made.core.registry.version("a", 2)
    made.supervisor.behaviours["a"] = Behaviour(die_at="load")
    next(one for one in made.supervisor.of("a") if one.model["version"] == 2).die(11)
    await eventually(lambda: version.state == "UNAVAILABLE", timeout_s=10)
    assert states(made, "a", "newest", "second") == ["READY", "READY", "UNAVAILABLE"]
    assert reason(made, "second") == (
        "Invalid argument: ensemble 'second' depends on 'a' whose required version 2 is not loaded."
    )


async def test_a_version_that_is_no_longer_served_is_missed(bench: Make, tmp_path: Path) -> None:
    write_model(tmp_path, "a", versions=(1, 2), more="version_policy: { all: {} }")
    write_ensemble(tmp_path, "first", "a", version=1)
    made = bench(model_control_mode="explicit", load_model=("first",))
    await made.start()
    rewrite(tmp_path, "a", "{ all: {} }", "{ latest: { num_versions: 1 } }")
    await made.core.loader.load("a")
    assert states(made, "first") == ["UNAVAILABLE"]
    assert "whose required version 1 is not loaded" in reason(made, "first")


@pytest.mark.parametrize(
    ("name", "models", "text"),
    [
        (
            "lost",
            ("nowhere", "a", "gone"),
            "ensemble lost contains models that are not available or ambiguous: nowhere, gone",
        ),
        ("ring", ("ring",), "circular dependency between ensembles: ring -> ring"),
        (
            "of_failing",
            ("a", "fails"),
            "ensemble 'of_failing' depends on 'fails' which has no loaded version. Model 'fails'"
            " loading failed with error: version 1 is at UNAVAILABLE state: Internal: no luck;",
        ),
        (
            "of_unfit",
            ("unfit",),
            "ensemble 'of_unfit' depends on 'unfit' which has no loaded version. Model 'unfit'"
            " loading failed with error: ensemble unfit contains models that are not available or"
            " ambiguous: nowhere",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["explicit", "none"])
async def test_an_ensemble_that_cannot_be_loaded_has_no_version(
    bench: Make, tmp_path: Path, mode: str, name: str, models: tuple[str, ...], text: str
) -> None:
    for each in ("a", "fails"):
        write_model(tmp_path, each)
    write_ensemble(tmp_path, "unfit", "nowhere")
    write_ensemble(tmp_path, name, *models)
    made = bench(model_control_mode=mode, exit_on_error=False)
    made.supervisor.behaviours["fails"] = Behaviour(fail_load="no luck")
    await made.start()
    if mode == "explicit":
        with pytest.raises(LoadFailed) as refused:
            await made.core.loader.load(name)
        assert str(refused.value) == f"load failed for model '{name}': {text}\n"
    else:
        ready = await eventually(lambda: made.supervisor.first("ready"))
        lines = {line["name"]: line for line in ready["summary"]["models"]}
        assert lines[name]["reason"] == f"Not loaded: {text}"
    assert made.core.registry.versions(name) == {}
    lines = made.core.registry.index({name}, frozenset(), ready_only=False)
    assert IndexEntry(name) in lines


async def test_a_core_that_takes_over_does_not_bring_back_what_was_unloaded(
    bench: Make, tmp_path: Path
) -> None:
    made = await started(bench, tmp_path, "outer")
    await made.core.loader.unload("a")
    await eventually(lambda: made.supervisor.heard[-1]["op"] == "remember")
    assert made.supervisor.heard[-1]["models"] == ["b"]
    await made.core.loader.load("a")
    await eventually(lambda: made.supervisor.heard[-1].get("models") == list(_ALL))


async def test_the_end_of_the_server_ends_the_outermost_ensembles_first(
    bench: Make, tmp_path: Path
) -> None:
    made = await started(bench, tmp_path, "outer")
    handles = [handle(made, name) for name in ("outer", "inner")]
    await made.core.loader.unload_everything()
    assert made.engine.drained[:2] == handles
    assert made.engine.models == {}


async def test_steps_that_came_with_an_ensemble_alone_can_go_with_it(
    bench: Make, tmp_path: Path
) -> None:
    made = await started(bench, tmp_path, "outer")
    await made.core.loader.load("b")  # asked for now
    write_ensemble(tmp_path, "other", "a")
    await made.core.loader.load("other")
    await made.core.loader.unload("outer", dependents=True)
    await eventually(lambda: states(made, "outer", "inner") == ["UNAVAILABLE"] * 2)
    assert states(made, "a", "b", "other") == ["READY"] * 3
    await made.core.loader.unload("other", dependents=True)
    await eventually(lambda: states(made, "a") == ["UNAVAILABLE"])
    assert states(made, "b") == ["READY"]
    await made.core.loader.load("outer")
    await made.core.loader.unload("outer")
    assert states(made, "a", "inner") == ["READY"] * 2


async def test_an_ensemble_that_misses_an_unloaded_step_stays_unloaded(
    bench: Make, tmp_path: Path
) -> None:
    made = await started(bench, tmp_path, "outer")
    await made.core.loader.unload("a")
    rewrite(tmp_path, "b", "", "")
    await made.core.loader.load("b")
    await eventually(lambda: reason(made, "outer") == reason(made, "inner") == "unloaded")
    assert not made.core.registry.reason_not_ready()


class Gate:
    """Holds up whoever is to be acquainted: an ensemble that is being made."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        directory = bench.core.directory
        acquaint = directory.acquaint

        async def held(models: frozenset[str]) -> None:
            self.reached.set()
            await self.open.wait()
            await acquaint(models)

        monkeypatch.setattr(directory, "acquaint", held)


async def test_a_step_that_goes_while_its_ensemble_loads(
    bench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await started(bench, tmp_path, "a", "b")
    gate = Gate(made, monkeypatch)
    loading = asyncio.create_task(made.core.loader.load("inner"))
    await gate.reached.wait()
    await made.core.loader.unload("a")
    gate.open.set()
    with pytest.raises(LoadFailed, match="depends on 'a' which has no loaded version"):
        await loading
    assert states(made, "inner") == ["UNAVAILABLE"]
    await eventually(lambda: list(made.engine.models) == [handle(made, "b")])


@pytest.mark.parametrize("gone", ["b", "inner"])
async def test_a_step_or_the_ensemble_goes_while_it_is_made_anew(
    bench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    made = await started(bench, tmp_path, "inner")
    gate = Gate(made, monkeypatch)
    rewrite(tmp_path, "a", "", "")
    reloading = asyncio.create_task(made.core.loader.load("a"))
    await gate.reached.wait()
    await made.core.loader.unload(gone)
    gate.open.set()
    await reloading
    await eventually(lambda: states(made, "inner", gone) == ["UNAVAILABLE"] * 2)
    left = {"a", "b"} - {gone}
    await eventually(lambda: set(made.engine.models) == {handle(made, one) for one in left})
    assert reason(made, "inner") == "unloaded"


async def test_a_step_that_is_reloaded_while_others_unload_their_ensemble(
    bench: Make, tmp_path: Path
) -> None:
    made = await started(bench, tmp_path, "inner")
    made.engine.drains_at_once = False
    inner = handle(made, "inner")
    unloading = asyncio.create_task(made.core.loader.unload("b"))
    await eventually(lambda: made.engine.drained == [inner])
    rewrite(tmp_path, "a", "", "")
    await made.core.loader.load("a")
    assert states(made, "inner", "b") == ["READY", "READY"]  # b is not unloaded yet
    made.engine.drains_at_once = True
    for one in made.engine.drained:  # inner, and perhaps what served of a before
        made.engine.say("drained", one)
    await unloading
    await eventually(lambda: states(made, "inner", "b") == ["UNAVAILABLE"] * 2)
    await eventually(lambda: list(made.engine.models) == [handle(made, "a")])


async def test_a_circle_of_what_is_loaded_counts_not_one_of_files(
    bench: Make, tmp_path: Path
) -> None:
    made = await started(bench, tmp_path, "inner")
    config = {
        "platform": "ensemble",
        "max_batch_size": 8,
        "input": [{"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [-1]}],
        "output": [{"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": [-1]}],
        "ensemble_scheduling": {
            "step": [
                {
                    "model_name": "inner",
                    "model_version": -1,
                    "input_map": {"INPUT0": "INPUT0"},
                    "output_map": {"OUTPUT0": "OUTPUT0"},
                }
            ]
        },
    }
    rewrite(tmp_path, "inner", 'model_name: "a"', 'model_name: "b"')
    with pytest.raises(LoadFailed, match="circular dependency between ensembles: a -> inner -> a"):
        await made.core.loader.load("a", LoadOverride(json.dumps(config)))
    assert states(made, "a", "inner") == ["READY", "READY"]
    await made.core.loader.load("inner")
    await made.core.loader.load("a", LoadOverride(json.dumps(config)))
    assert states(made, "a", "inner") == ["READY", "READY"]
