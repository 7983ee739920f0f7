"""`pyserver check` and `pyserver config` as people and scripts run them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from bench.targets.pyserver import command_path
from pyserver.check.complete_config import write_config
from pyserver.config.load import finish, load_config
from pyserver.config.parse import parse_text
from pyserver.errors import AlreadyExistsError
from tests.check.repository import CORRECT, MODELS, WRONG
from tests.waiting import wait_until

CONFIG = "config.pbtxt"


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(command_path()), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )


def test_a_fine_repository_is_exit_code_0() -> None:
    done = _run("check", MODELS, "--model", "identity", "--model", "add_sub")
    assert (done.returncode, done.stdout) == (0, "2 models, 0 mistakes, 0 warnings\n")
    assert done.stderr == ""


def test_a_models_own_folder_will_do() -> None:
    done = _run("check", CORRECT / "ensemble")
    assert (done.returncode, done.stdout) == (0, "1 model, 0 mistakes, 0 warnings\n")


def test_mistakes_are_exit_code_1_with_the_block_to_paste() -> None:
    done = _run("check", WRONG / "quotes")
    assert done.returncode == 1
    file = WRONG / "quotes" / CONFIG
    assert done.stdout.splitlines() == [
        f"{file}:1:10: 'backend' cannot be identity; it is text, which stands in quotes:"
        ' "identity"',
        '    backend: "identity"',
        f"{file}:2:17: 'max_batch_size' cannot be \"8\"; it is a 32-bit integer, without quotes",
        "    max_batch_size: 8",
        "1 model, 2 mistakes, 0 warnings",
    ]


def test_warnings_alone_are_exit_code_0() -> None:
    done = _run("check", WRONG / "warns_of_parameter", "--no-request")
    assert done.returncode == 0
    assert done.stdout.endswith("1 model, 0 mistakes, 1 warning\n")


def test_json_is_one_object_for_each_finding() -> None:
    done = _run("check", WRONG, "--model=unknown_field", "--model=no_version", "--json")
    assert done.returncode == 1
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["model"], one["line"], one["severity"]) for one in found] == [
        ("no_version", 0, "mistake"),
        ("unknown_field", 2, "mistake"),
    ]
    assert found[1]["block"] == "max_batch_size: 8"
    assert found[1].keys() == {
        "model", "severity", "file", "line", "column", "problem", "wanted", "block",
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("check", "/no/such/folder"),
        ("check", str(MODELS), "--model=absent"),
        ("check", str(MODELS), "--jsn"),
        ("check", str(MODELS), "--timeout-secs=soon"),
        ("check", str(MODELS), "--backend-config=nothing"),
        ("check", str(MODELS / "identity" / "1")),
        ("config",),
        ("config", "/no/such/folder"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    done = _run(*arguments)
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr != "" and "Traceback" not in done.stderr


def test_the_servers_own_help_names_both_and_flags_stay_flags() -> None:
    text = _run("--help").stdout
    assert "pyserver check <folder>" in text and "pyserver config <folder>" in text
    assert "--json" in _run("check", "--help").stdout
    assert "unexpected argument 'check'" in _run("--id=x", "check").stderr


def test_models_may_be_called_by_numbers(tmp_path: Path) -> None:
    shutil.copytree(CORRECT / "echo", tmp_path / "7")
    done = _run("check", tmp_path, "--no-request")
    assert (done.returncode, done.stdout) == (0, "1 model, 0 mistakes, 0 warnings\n")


def test_code_that_does_not_end_is_ended(tmp_path: Path) -> None:
    version = tmp_path / "waits" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text("import threading\n\nthreading.Event().wait()\n")
    done = _run("check", tmp_path, "--timeout-secs=2")
    assert done.returncode == 1
    assert "did not come to an end within 2 s" in done.stdout


def _processes_of(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found |= {int(child)} | _processes_of(int(child))
    return found


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_check_that_is_killed_leaves_no_server(tmp_path: Path) -> None:
    version = tmp_path / "models" / "waits" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(
        "import pathlib, threading\n\n"
        "class TritonPythonModel:\n"
        "    def initialize(self, args):\n"
        f"        pathlib.Path({str(tmp_path / 'initializes')!r}).touch()\n"
        "        threading.Event().wait()\n"
        "    def execute(self, requests):\n"
        "        return []\n"
    )
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [str(command_path()), "check", str(tmp_path / "models")],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp"), "CUDA_VISIBLE_DEVICES": ""},
    )
    try:
        wait_until((tmp_path / "initializes").exists, timeout_s=60, what="a model that waits")
        started = _processes_of(process.pid)
        assert len(started) >= 4  # supervisor, frontend, core, instance
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until(
        lambda: not any(_lives(pid) for pid in started), timeout_s=20, what="the server's end"
    )


# --- config ---


@pytest.mark.parametrize("name", ["completed", "onnx_completed", "sequence", "ensemble", "images"])
def test_the_printed_config_is_the_one_that_the_server_uses(tmp_path: Path, name: str) -> None:
    for folder in (name, "echo"):
        shutil.copytree(CORRECT / folder, tmp_path / folder)
    model = tmp_path / name
    if name == "onnx_completed":
        shutil.copy(MODELS / "add_sub/1/model.onnx", model / "1")
    done = _run("config", model)
    assert done.returncode == 0, done.stderr
    message = parse_text(done.stdout.encode(), source=CONFIG)
    assert message.input and message.output and message.HasField("version_policy")
    # Written down, it is taken as it is, and says the same when it is completed again.
    (model / CONFIG).write_text(done.stdout)
    loaded = load_config(name, model, config_name=None, gpu_count=0, auto_complete=False)
    assert finish(loaded.message, gpu_count=0, model_dir=model) == message
    assert _run("config", model, "--write").stdout == "config.pbtxt is complete already\n"


def test_writing_keeps_what_was_there(tmp_path: Path) -> None:
    model = tmp_path / "echo"
    shutil.copytree(CORRECT / "echo", model)
    before = (model / CONFIG).read_text()
    (model / CONFIG).chmod(0o640)
    done = _run("config", model, "--write")
    assert done.returncode == 0, done.stderr
    assert (model / f"{CONFIG}.orig").read_text() == before
    assert (model / CONFIG).stat().st_mode & 0o777 == 0o640
    assert sorted(entry.name for entry in model.iterdir()) == ["1", CONFIG, f"{CONFIG}.orig"]


def test_what_was_kept_is_not_replaced_without_force(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text("max_batch_size: 1\n")
    (tmp_path / f"{CONFIG}.orig").write_text("max_batch_size: 2\n")
    with pytest.raises(AlreadyExistsError, match="--force"):
        write_config(tmp_path, "max_batch_size: 3\n", force=False)
    assert (tmp_path / CONFIG).read_text() == "max_batch_size: 1\n"
    write_config(tmp_path, "max_batch_size: 3\n", force=True)
    assert (tmp_path / f"{CONFIG}.orig").read_text() == "max_batch_size: 1\n"
    assert (tmp_path / CONFIG).read_text() == "max_batch_size: 3\n"


def test_a_model_that_cannot_be_used_has_no_complete_config() -> None:
    done = _run("config", WRONG / "python_import")
    assert done.returncode == 1
    assert "No module named 'torchvisionn'" in done.stderr and done.stdout == ""
