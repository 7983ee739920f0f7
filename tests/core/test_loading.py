"""Loading and unloading, with processes and an engine that the test plays."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyserver.errors import InternalError, InvalidArgumentError, ServerError
from pyserver.repository.override import LoadOverride
from tests.core.fakes import Behaviour, Bench, eventually, write_model

Make = Callable[..., Bench]


def state_of(bench: Bench, name: str, version: int = 1) -> tuple[str, str]:
    found = bench.core.registry.versions(name)[version]
    return found.state.value, found.reason


async def test_models_of_the_start_are_loaded_and_announced(bench: Make, tmp_path: Path) -> None:
    write_model(tmp_path, "shared", count=3)
    write_model(tmp_path, "apart", backend="python", count=2)
    made = bench()
    frontend = await made.add_frontend(0)
    await made.start()
    await eventually(lambda: "serve" in frontend.heard)
    ready = await eventually(lambda: made.supervisor.first("ready"))
    assert [
        (m["name"], m["version"], m["state"], m["instances"]) for m in ready["summary"]["models"]
    ] == [
        ("apart", 1, "READY", 2),
        ("shared", 1, "READY", 3),
    ]
    assert [len(one.peers) for one in made.supervisor.of("shared")] == [3]
    assert [len(one.peers) for one in made.supervisor.of("apart")] == [1, 1]
    instance_peers = {peer for one in made.supervisor.alive for peer in one.peers}
    assert frontend.regions == instance_peers | {0}
    assert all(one.regions == {0, frontend.peer} for one in made.supervisor.alive)
    assert frontend.states("shared") == {1: "READY"}
    assert frontend.health == {"op": "health", "ready": True, "live": True}
    spec = frontend.models["shared"]["versions"][0]["spec"]
    assert spec["inputs"][0] == {
        "name": "INPUT0",
        "datatype": "FP32",
        "dims": [-1],
        "reshape": None,
        "optional": False,
        "ragged": False,
        "shape_tensor": False,
    }
    assert sorted(len(its) for its in made.engine.instances.values()) == [2, 3]


async def test_the_catalog_reaches_a_frontend_before_it_may_serve(
    bench: Make, tmp_path: Path
) -> None:
    write_model(tmp_path, "m")
    made = bench()
    await made.start()
    frontend = await made.add_frontend(0)
    await eventually(lambda: "serve" in frontend.heard)
    order = [op for op in frontend.heard if op != "region"]
    assert order[:4] == ["attach", "model", "health", "serve"]
    assert frontend.heard.index("region") < frontend.heard.index("serve")


async def test_prepare_tells_what_the_model_is_and_load_has_the_final_config(
    bench: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text('backend: "python"')
    made = bench(backend_config=(("python", "shm", "1"), ("", "all", "2"), ("other", "x", "3")))
    made.supervisor.behaviours["m"] = Behaviour(
        completion={
            "max_batch_size": 4,
            "input": [{"name": "A", "data_type": "TYPE_INT32", "dims": [2]}],
            "output": [{"name": "B", "data_type": "TYPE_STRING", "dims": [1]}],
        }
    )
    await made.start()
    [instance] = made.supervisor.of("m")
    assert instance.model["backend"] == "python"
    assert instance.model["version_dir"] == str(folder / "1")
    assert instance.model["backend_config"] == {"shm": "1", "all": "2"}
    assert json.loads(instance.model["config"])["input"] == []
    final = json.loads(instance.config)
    assert (final["max_batch_size"], final["input"][0]["name"]) == (4, "A")
    assert instance.said == ["prepare", "attach", "region", "load", "join"]


@pytest.mark.parametrize("backend", ["identity", "python"])
async def test_the_engine_is_told_what_each_instance_needs(
    bench: Make, tmp_path: Path, backend: str
) -> None:
    more = """instance_group [ { kind: KIND_CPU rate_limiter {
      resources [ { name: "R" count: 4 }, { name: "G" global: true count: 2 } ] priority: 3 } } ]"""
    write_model(tmp_path, "m", backend=backend, count=2, more=more)
    made = bench()
    await made.start()
    [model] = made.engine.models.values()
    nothing = {"priority": 0, "device": 0, "resources": []}
    assert model["instances"] == [
        nothing,
        nothing,
        {
            "priority": 3,
            "device": 0,
            "resources": [
                {"name": "R", "count": 4, "global": False},
                {"name": "G", "count": 2, "global": True},
            ],
        },
    ]
    peers = [peer for one in made.supervisor.of("m") for peer in sorted(one.peers)]
    assert sorted(made.engine.places[peer] for peer in peers) == [0, 1, 2]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour(fail_prepare="no module x"), "Internal: no module x"),
        (Behaviour(fail_load="cannot"), "Internal: cannot"),
        (
            Behaviour(die_at="prepare"),
            "Internal: the process of instance 'm:1' was killed by signal 11 (SIGSEGV)",
        ),
        (
            Behaviour(die_at="load"),
            "Internal: the process of instance 'm:1' was killed by signal 11 (SIGSEGV)",
        ),
        (
            Behaviour(die_at="attach"),
            "Internal: the process of instance 'm:1' was killed by signal 11 (SIGSEGV)",
        ),
    ],
)
@pytest.mark.parametrize("backend", ["identity", "python"])
async def test_a_failed_load_tells_why_and_leaves_nothing(
    bench: Make, tmp_path: Path, behaviour: Behaviour, reason: str, backend: str
) -> None:
    write_model(tmp_path, "m", backend=backend, count=2)
    made = bench(exit_on_error=False)
    frontend = await made.add_frontend(0)
    made.supervisor.behaviours["m"] = behaviour
    await made.start()
    assert state_of(made, "m") == ("UNAVAILABLE", reason)
    await eventually(lambda: not made.supervisor.alive)
    assert made.engine.models == {}
    await eventually(lambda: frontend.peer > 0)
    assert set(made.engine.peers) == {frontend.peer}
    await eventually(lambda: "serve" in frontend.heard)
    assert frontend.states("m") == {1: "UNAVAILABLE"}
    assert frontend.health["ready"] is False


async def test_a_failure_at_start_is_fatal_when_asked(bench: Make, tmp_path: Path) -> None:
    write_model(tmp_path, "m")
    made = bench(exit_on_error=True)
    made.supervisor.behaviours["m"] = Behaviour(fail_load="no")
    await made.start()
    fatal = await eventually(lambda: made.supervisor.first("fatal"))
    assert fatal["message"] == "creating server: Internal - failed to load all models"
    assert made.supervisor.first("ready") is None


async def test_a_missing_repository_is_fatal(bench: Make, tmp_path: Path) -> None:
    made = bench()
    tmp_path.rmdir()
    await made.start()
    fatal = await eventually(lambda: made.supervisor.first("fatal"))
    assert str(tmp_path) in fatal["message"]
    tmp_path.mkdir()


async def test_all_versions_load_or_none(bench: Make, tmp_path: Path) -> None:
    write_model(tmp_path, "m", versions=(1, 2), more="version_policy: { all: {} }")
    made = bench(model_control_mode="explicit")
    await made.start()
    made.supervisor.behaviours["m"] = Behaviour(fail_load="no")
    with pytest.raises(InvalidArgumentError) as refused:
        await made.core.loader.load("m")
    assert str(refused.value) == (
        "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: no;"
        "version 2 is at UNAVAILABLE state: Internal: no;\n"
    )
    made.supervisor.behaviours["m"] = Behaviour()
    await made.core.loader.load("m")
    assert made.core.registry.find("m").version == 2
    assert len(made.supervisor.alive) == 2


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        (
            "nowhere",
            InternalError,
            "failed to load 'nowhere', failed to poll from model repository",
        ),
        ("bad", InternalError, "failed to load 'bad', failed to poll from model repository"),
        ("a/b", InvalidArgumentError, "invalid model name 'a/b', model name must not contain"),
        (" ", InvalidArgumentError, "Model name cannot be empty. Please enter a valid name"),
        ("x" * 300, InternalError, f"failed to load '{'x' * 300}', failed to poll from model"),
    ],
)
async def test_loads_that_cannot_begin(
    bench: Make, tmp_path: Path, name: str, error: type[ServerError], text: str
) -> None:
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "config.pbtxt").write_text("backend: python")
    made = bench(model_control_mode="explicit")
    await made.start()
    with pytest.raises(error) as refused:
        await made.core.loader.load(name)
    assert str(refused.value).startswith(text)


async def test_an_unknown_backend_and_an_ensemble_are_refused(bench: Make, tmp_path: Path) -> None:
    write_model(tmp_path, "m", backend="cobol")
    made = bench(model_control_mode="explicit")
    await made.start()
    with pytest.raises(InvalidArgumentError, match="unable to find backend library for backend"):
        await made.core.loader.load("m")
    assert made.supervisor.instances == []


async def test_a_model_without_a_version_is_known_and_has_none(bench: Make, tmp_path: Path) -> None:
    write_model(tmp_path, "m", versions=())
    made = bench(exit_on_error=False)
    frontend = await made.add_frontend(0)
    await made.start()
    await eventually(lambda: "serve" in frontend.heard)
    assert frontend.models["m"]["versions"] == []


async def test_loading_an_unchanged_model_again_does_nothing(bench: Make, tmp_path: Path) -> None:
    write_model(tmp_path, "m")
    made = bench(model_control_mode="explicit")
    await made.start()
    await made.core.loader.load("m")
    await made.core.loader.load("m")
    assert len(made.supervisor.instances) == 1


async def test_a_reload_switches_over_and_drains_the_old_one(bench: Make, tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m")
    made = bench(model_control_mode="explicit")
    frontend = await made.add_frontend(0)
    await made.start()
    await eventually(lambda: "serve" in frontend.heard)
    await made.core.loader.load("m")
    first = frontend.models["m"]["versions"][0]["handle"]
    os.utime(folder / "config.pbtxt", ns=(2**61, 2**61))
    made.engine.drains_at_once = False
    await made.core.loader.load("m")
    second = frontend.models["m"]["versions"][0]["handle"]
    assert second != first
    await eventually(lambda: made.engine.drained == [first])
    assert len(made.supervisor.alive) == 2  # the old one has requests left
    made.engine.say("drained", first)
    await eventually(lambda: len(made.supervisor.alive) == 1)
    assert list(made.engine.models) == [second]
    assert state_of(made, "m") == ("READY", "")
    made.engine.drains_at_once = True


async def test_a_failed_reload_leaves_the_old_one_serving(bench: Make, tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m")
    made = bench(model_control_mode="explicit")
    await made.start()
    await made.core.loader.load("m")
    os.utime(folder / "config.pbtxt", ns=(2**61, 2**61))
    made.supervisor.behaviours["m"] = Behaviour(fail_load="broken weights")
    with pytest.raises(InvalidArgumentError, match="broken weights"):
        await made.core.loader.load("m")
    assert state_of(made, "m") == ("READY", "")
    assert len(made.supervisor.alive) == 1


async def test_unload_refuses_new_requests_at_once_and_ends_the_processes(
    bench: Make, tmp_path: Path
) -> None:
    write_model(tmp_path, "m", backend="python", count=2)
    made = bench(model_control_mode="explicit", load_model=("m",))
    frontend = await made.add_frontend(0)
    await made.start()
    await eventually(lambda: "serve" in frontend.heard)
    made.engine.drains_at_once = False
    await made.core.loader.unload("m")
    assert frontend.states("m") == {1: "UNLOADING"}
    assert len(made.supervisor.alive) == 2
    [handle] = made.engine.models
    await eventually(lambda: made.engine.drained == [handle])
    made.engine.say("drained", handle)
    await eventually(lambda: not made.supervisor.alive)
    await eventually(lambda: state_of(made, "m") == ("UNAVAILABLE", "unloaded"))
    await eventually(lambda: frontend.states("m") == {1: "UNAVAILABLE"})
    assert set(made.engine.peers) == {frontend.peer}
    assert made.engine.models == {}
    await made.core.loader.unload("never seen")


async def test_a_process_that_does_not_stop_is_killed(bench: Make, tmp_path: Path) -> None:
    write_model(tmp_path, "m")
    made = bench(exit_timeout_secs=0)
    await made.start()
    made.supervisor.behaviours["m"] = Behaviour(ignores_stop=True)
    [instance] = made.supervisor.alive
    await made.core.loader.unload_everything()
    assert made.supervisor.killed == [(instance.key, 15), (instance.key, 9)]


async def test_an_override_takes_the_place_of_the_file(bench: Make, tmp_path: Path) -> None:
    write_model(tmp_path, "m")
    made = bench(model_control_mode="explicit")
    await made.start()
    config = {
        "backend": "identity",
        "maxBatchSize": 3,
        "input": [{"name": "X", "data_type": "type_int8", "dims": ["1"]}],
        "output": [{"name": "Y", "data_type": "TYPE_INT8", "dims": [1]}],
    }
    await made.core.loader.load("m", LoadOverride(json.dumps(config)))
    loaded = made.core.registry.find("m").loaded
    assert loaded is not None
    assert loaded.config.max_batch_size == 3
    await made.core.loader.load("m")
    loaded = made.core.registry.find("m").loaded
    assert loaded is not None
    assert loaded.config.max_batch_size == 8
    with pytest.raises(InvalidArgumentError, match=r"^Invalid config override: "):
        await made.core.loader.load("m", LoadOverride('{"nonsense": 1}'))


async def test_files_of_a_load_make_a_folder_that_goes_with_the_model(
    bench: Make, tmp_path: Path
) -> None:
    made = bench(model_control_mode="explicit")
    await made.start()
    config = {
        "backend": "identity",
        "input": [{"name": "X", "data_type": "TYPE_INT8", "dims": [1]}],
        "output": [{"name": "Y", "data_type": "TYPE_INT8", "dims": [1]}],
    }
    override = LoadOverride(json.dumps(config), {"1/model.bin": b"weights", "labels.txt": b"a"})
    await made.core.loader.load("fresh", override)
    [instance] = made.supervisor.of("fresh")
    folder = Path(instance.model["model_dir"])
    assert (folder / "1" / "model.bin").read_bytes() == b"weights"
    await made.core.loader.unload("fresh")
    await eventually(lambda: not made.supervisor.alive)
    await eventually(lambda: not folder.exists())


@pytest.mark.parametrize("path", ["../x", "/etc/x", "1/../../x", "", "a\0b"])
async def test_files_that_lead_outside_are_refused(bench: Make, tmp_path: Path, path: str) -> None:
    made = bench(model_control_mode="explicit")
    await made.start()
    with pytest.raises(InvalidArgumentError, match="must remain inside the model directory"):
        await made.core.loader.load("m", LoadOverride("{}", {path: b""}))


async def test_a_file_name_that_is_too_long_is_refused(bench: Make) -> None:
    made = bench(model_control_mode="explicit")
    await made.start()
    with pytest.raises(InternalError, match="failed to poll from model repository"):
        await made.core.loader.load("m", LoadOverride("{}", {"1/" + "x" * 5000: b""}))


async def test_no_more_versions_load_at_once_than_allowed(bench: Make, tmp_path: Path) -> None:
    gate = asyncio.Event()
    made = bench(model_load_thread_count=2)
    for number in range(5):
        write_model(tmp_path, f"m{number}")
        made.supervisor.behaviours[f"m{number}"] = Behaviour(hold_load=gate)
    start = asyncio.create_task(made.start())
    await eventually(lambda: sum("load" in one.said for one in made.supervisor.alive) == 2)
    await asyncio.sleep(0.05)
    assert len(made.supervisor.alive) == 2
    gate.set()
    await start
    assert len(made.supervisor.alive) == 5


async def test_explicit_mode_loads_what_it_is_told_to(bench: Make, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_model(tmp_path, name)
    made = bench(model_control_mode="explicit", load_model=("a", "c", "a"))
    await made.start()
    assert made.core.registry.names() == ["a", "c"]
    every = bench(model_control_mode="explicit", load_model=("*",))
    await every.start()
    assert every.core.registry.names() == ["a", "b", "c"]


async def test_retries_are_made_as_often_as_asked(bench: Make, tmp_path: Path) -> None:
    write_model(tmp_path, "m")
    made = bench(model_load_retry_count=2, exit_on_error=False)
    made.supervisor.behaviours["m"] = Behaviour(fail_load="no")
    await made.start()
    assert len(made.supervisor.instances) == 3


async def test_drain_ends_everything_and_says_so(bench: Make, tmp_path: Path) -> None:
    write_model(tmp_path, "m")
    made = bench()
    frontend = await made.add_frontend(0)
    await made.start()
    made.supervisor.control.send({"op": "drain"})
    await eventually(lambda: made.supervisor.first("drained"))
    assert not made.supervisor.alive
    await eventually(lambda: frontend.health == {"op": "health", "ready": False, "live": False})
