"""Repository agents: when they are asked, what they may do, and what becomes of their failures."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyserver.core.model_source import PollFailed
from tests.core.fakes import Bench, eventually, write_model

Make = Callable[..., Bench]

RECORDER = """
import pathlib

class RepositoryAgent:
    def load(self, model):
        self.told("load", model)

    def loaded(self, model):
        self.told("loaded", model)

    def unload(self, model):
        self.told("unload", model)

    def told(self, hook, model):
        left = sorted(path.name for path in model.scratch.iterdir())
        (model.scratch / hook).touch()
        with open(model.parameters["log"], "a") as log:
            print(hook, model.parameters["as"], model.name, model.config["backend"], left, file=log)
"""
MOVER = """
import shutil

class RepositoryAgent:
    def load(self, model):
        folder = shutil.copytree(model.folder, model.scratch / "copy")
        config = folder / "config.pbtxt"
        config.write_text(config.read_text().replace("max_batch_size: 8", "max_batch_size: 3"))
        (folder / "made").symlink_to(model.folder / "config.pbtxt")
        return "copy" if model.parameters.get("relative") else folder
"""


def agent(name: str, **parameters: str) -> str:
    entries = " ".join(
        f'parameters {{ key: "{key}" value: "{value}" }}' for key, value in parameters.items()
    )
    return f'{{ name: "{name}" {entries} }}'


def agents(*them: str) -> str:
    return f"model_repository_agents {{ agents [ {', '.join(them)} ] }}"


@pytest.fixture
def directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("agents")
    monkeypatch.setenv("PYSERVER_CACHE_DIR", str(folder / "cache"))
    yield folder
    assert list((folder / "cache").glob("loads/*")) == [], "an agent's scratch folder is left"


@pytest.fixture
def explicit(directory: Path, bench: Make) -> Callable[[], Bench]:
    return lambda: bench(model_control_mode="explicit", repoagent_directory=str(directory))


def write_agent(directory: Path, name: str, text: str) -> None:
    (directory / name).mkdir()
    (directory / name / "agent.py").write_text(text)


async def refusal(made: Bench, name: str = "m") -> str:
    """Why the model was not loaded; the client is told what Triton tells."""
    with pytest.raises(PollFailed) as refused:
        await made.core.loader.load(name)
    assert str(refused.value) == f"failed to load '{name}', failed to poll from model repository"
    assert not made.supervisor.alive
    return refused.value.reason


async def test_a_model_whose_files_are_what_its_config_says_is_loaded(
    explicit: Callable[[], Bench], tmp_path: Path
) -> None:
    sums = {"MD5:1/weights": hashlib.md5(b"weights").hexdigest().upper()}
    sums["SHA256:1/weights"] = hashlib.sha256(b"weights").hexdigest()
    folder = write_model(tmp_path, "m", more=agents(agent("checksum", **sums)))
    (folder / "1" / "weights").write_bytes(b"weights")
    made = explicit()
    await made.start()
    await made.core.loader.load("m")
    assert len(made.supervisor.of("m")) == 1


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (
            "MD5:1/weights",
            f"Mismatched MD5 hash for file 1/weights of model 'm', expect: {'0' * 32}, got:"
            f" {hashlib.md5(b'weights').hexdigest()}",
        ),
        ("MD5:1/gone", "cannot read '1/gone': No such file or directory"),
        ("MD5:1", "cannot read '1': it is not a regular file"),
        ("MD5:1/pipe", "cannot read '1/pipe': it is not a regular file"),
        ("MD5:../x", r"cannot read '../x': it climbs by '..'"),
        ("MD5:/etc/passwd", "cannot read '/etc/passwd': it is absolute"),
        ("MD5:", "cannot read '': it is empty"),
        ("SHA1:1/weights", "has the parameter 'SHA1:1/weights'; known are MD5:<path>"),
        ("MD5", "has the parameter 'MD5'; known are MD5:<path>"),
    ],
)
async def test_a_model_with_other_files_is_refused(
    explicit: Callable[[], Bench], tmp_path: Path, key: str, why: str
) -> None:
    folder = write_model(tmp_path, "m", more=agents(agent("checksum", **{key: "0" * 32})))
    (folder / "1" / "weights").write_bytes(b"weights")
    os.mkfifo(folder / "1" / "pipe")
    made = explicit()
    await made.start()
    assert why in await refusal(made)


async def test_agents_are_asked_in_order_and_told_in_reverse(
    explicit: Callable[[], Bench], directory: Path, tmp_path: Path
) -> None:
    write_agent(directory, "recorder", RECORDER)
    log = tmp_path.parent / f"{tmp_path.name}.log"
    both = (agent("recorder", log=str(log), **{"as": one}) for one in "ab")
    write_model(tmp_path, "m", more=agents(*both))
    made = explicit()
    await made.start()
    await made.core.loader.load("m")
    await made.core.loader.load("m")  # nothing has changed: nobody is asked
    loads = ["load a m identity []", "load b m identity []"]
    loads += ["loaded a m identity ['load']", "loaded b m identity ['load']"]
    assert log.read_text().splitlines() == loads
    await made.core.loader.unload("m")
    unloads = [f"unload {one} m identity ['load', 'loaded']" for one in "ba"]
    await eventually(lambda: log.read_text().splitlines() == loads + unloads)


async def test_an_agent_s_folder_is_loaded_instead_and_goes_with_the_model(
    explicit: Callable[[], Bench], directory: Path, tmp_path: Path
) -> None:
    write_agent(directory, "mover", MOVER)
    for relative in ("", "yes"):
        name = f"m{relative}"
        write_model(tmp_path, name, more=agents(agent("mover", relative=relative)))
        text = (tmp_path / name / "config.pbtxt").read_text()
        made = explicit()
        await made.start()
        await made.core.loader.load(name)
        [instance] = made.supervisor.of(name)
        folder = Path(instance.model["model_dir"])
        assert folder.is_relative_to(directory / "cache")
        loaded = made.core.registry.find(name).loaded
        assert loaded is not None and loaded.config.max_batch_size == 3
        assert (folder / "made").read_text() == text
        await made.core.loader.unload(name)
        await eventually(lambda gone=folder: not gone.exists())


async def test_agents_see_the_folder_of_those_before_them(
    explicit: Callable[[], Bench], directory: Path, tmp_path: Path
) -> None:
    write_agent(directory, "mover", MOVER)
    config = agents(agent("mover"), agent("checksum", **{"MD5:made": "0" * 32}))
    write_model(tmp_path, "m", more=config)
    made = explicit()
    await made.start()
    assert "Mismatched MD5 hash for file made" in await refusal(made)


async def test_a_load_that_fails_later_is_told_to_those_who_were_asked(
    explicit: Callable[[], Bench], directory: Path, tmp_path: Path
) -> None:
    write_agent(directory, "recorder", RECORDER)
    write_agent(directory, "fails", "class RepositoryAgent:\n def load(self, model): 1 / 0")
    log = tmp_path.parent / f"{tmp_path.name}.log"
    recorder = agent("recorder", log=str(log), **{"as": "a"})
    write_model(tmp_path, "m", more=agents(recorder, agent("fails")))
    made = explicit()
    await made.start()
    why = await refusal(made)
    assert why.startswith("repository agent 'fails' (")
    assert why.endswith("load of model 'm': ZeroDivisionError: division by zero")
    told = ["load a m identity []", "unload a m identity ['load']"]
    assert log.read_text().splitlines() == told


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("raise ImportError('no key')", "ImportError: no key"),
        ("", "has no class 'RepositoryAgent'"),
        ("class RepositoryAgent:\n def load(self, m): return 'gone'", "gone' for model 'm', which"),
        ("class RepositoryAgent:\n def load(self, m): return 3", "TypeError"),
        ("import os\nos._exit(7)", "ended with exit code 7 and without an answer"),
        ("import os\nos.kill(os.getpid(), 11)", "ended with signal 11 and without an answer"),
        ("import time\ntime.sleep(1000)", "took more than 2 s"),
        ("import sys\nprint('x' * 10**6)\nsys.exit('no')", "ended with exit code 1"),
    ],
)
async def test_an_agent_that_fails_is_named_with_what_it_did(
    explicit: Callable[[], Bench], directory: Path, tmp_path: Path, program: str, why: str
) -> None:
    write_agent(directory, "own", program)
    write_model(tmp_path, "m", more=agents(agent("own", timeout_s="2")))
    made = explicit()
    await made.start()
    told = await refusal(made)
    assert "repository agent 'own'" in told
    assert why in told


async def test_an_agent_that_takes_too_long_is_ended_with_all_it_has_started(
    explicit: Callable[[], Bench], directory: Path, tmp_path: Path
) -> None:
    pid_file = tmp_path.parent / f"{tmp_path.name}.pid"
    program = f"""
import subprocess, time
child = subprocess.Popen(["sleep", "1000"])
open({str(pid_file)!r}, "w").write(str(child.pid))
time.sleep(1000)
"""
    write_agent(directory, "own", program)
    write_model(tmp_path, "m", more=agents(agent("own", timeout_s="3")))
    made = explicit()
    await made.start()
    assert "took more than 3 s" in await refusal(made)
    stat = Path(f"/proc/{pid_file.read_text()}/stat")
    await eventually(lambda: not stat.exists() or stat.read_text().split()[2] == "Z")


async def test_agents_that_are_not_there_are_named_with_where_they_were_looked_for(
    explicit: Callable[[], Bench], directory: Path, tmp_path: Path
) -> None:
    (directory / "compiled").mkdir()
    (directory / "compiled" / "libtritonrepoagent_compiled.so").touch()
    for name, why in {
        "none": f"unable to find 'none/agent.py' for repo agent 'none', searched: {directory}",
        "compiled": "'libtritonrepoagent_compiled.so' is there, but agents are Python here",
        "../x": "a repository agent named '../x', which has a '/' in it",
        "..": "a repository agent named '..', which climbs by '..'",
    }.items():
        model = f"m{len(name)}"
        write_model(tmp_path, model, more=agents(agent(name)))
        made = explicit()
        await made.start()
        assert why in await refusal(made, model)
    write_model(tmp_path, "many", more=agents(*(agent("checksum") for _ in range(17))))
    assert "has 17 repository agents, more than 16" in await refusal(made, "many")


async def test_what_is_wrong_at_the_end_is_only_logged(
    explicit: Callable[[], Bench],
    directory: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    program = "class RepositoryAgent:\n def loaded(self, m): 1 / 0\n unload = loaded"
    write_agent(directory, "own", program)
    write_model(tmp_path, "m", more=agents(agent("own")))
    made = explicit()
    await made.start()
    await made.core.loader.load("m")
    assert "loaded of model 'm': ZeroDivisionError" in caplog.text
    await made.core.loader.unload("m")
    await eventually(lambda: "unload of model 'm': ZeroDivisionError" in caplog.text)
