"""Which Python a model runs with, before any process is started."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import pyserver
from pyserver._core import SOURCE_FINGERPRINT
from pyserver.core.model_environment import PythonEnvironment, python_environment
from pyserver.errors import InvalidArgumentError


def environment(
    folder: Path,
    said: list[str] | None = None,
    *,
    settings: dict[str, str] | None = None,
    **given: str,
) -> PythonEnvironment:
    (folder / "1").mkdir(exist_ok=True)
    say = (said if said is not None else []).append
    return python_environment("m", given, folder, folder / "1", settings or {}, say)


def test_the_servers_own_where_nothing_is_said(tmp_path: Path) -> None:
    assert environment(tmp_path) == PythonEnvironment()


def test_an_interpreter_by_its_path_from_the_models_folder(tmp_path: Path) -> None:
    (tmp_path / "py").symlink_to(sys.executable)
    said: list[str] = []
    for path in ("py", "$$TRITON_MODEL_DIRECTORY/py", str(tmp_path / "py")):
        made = environment(tmp_path, said, python=path)
        assert made.program is not None
        assert made.program[:2] == (str(tmp_path / "py"), "-P")
        assert Path(made.program[2]).is_file()
    assert set(said) == {"checking its Python environment"}


@pytest.mark.parametrize("where", [".", "1"])
def test_requirements_may_be_ignored(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYSERVER_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "1").mkdir()
    (tmp_path / where / "requirements.txt").write_text("./there_is_no_such.whl\n")
    assert environment(tmp_path, settings={"requirements": "ignore"}) == PythonEnvironment()
    assert environment(tmp_path, python=sys.executable).program is not None
    said: list[str] = []
    with pytest.raises(InvalidArgumentError, match=r"there_is_no_such\.whl"):
        environment(tmp_path, said)
    assert said == ["building the environment of its requirements.txt"]
    left = [one.name for one in (tmp_path / "cache" / "requirements").iterdir()]
    assert [name for name in left if not name.endswith(".lock")] == []


def test_a_program_that_fails_tells_why(tmp_path: Path) -> None:
    script = tmp_path / "py"
    script.write_text("#!/bin/sh\necho no such thing >&2\nexit 5\n")
    script.chmod(0o755)
    with pytest.raises(InvalidArgumentError, match="ended with exit code 5: no such thing"):
        environment(tmp_path, python="py")


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("python", "s3://bucket/env.tar.gz"),
        ("python", "gs://b/e"),
        ("EXECUTION_ENV_PATH", "https://host/env.tar.gz"),
        ("EXECUTION_ENV_PATH", "S3://https://host:1/b/e"),
    ],
)
def test_what_is_not_fetched_from_elsewhere_is_refused(tmp_path: Path, key: str, path: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        environment(tmp_path, **{key: path})
    assert f"{key} is '{path}', which is not fetched from there" in str(refused.value)
    assert "$$TRITON_MODEL_DIRECTORY/<file>" in str(refused.value)


@pytest.mark.parametrize("where", [".", "1"])
def test_a_stub_says_what_it_means_here(
    tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / where / "triton_python_backend_stub").touch()
    assert environment(tmp_path) == PythonEnvironment()
    assert "triton_python_backend_stub' is not used" in caplog.text
    assert 'parameters { key: "python"' in caplog.text


def other_python(folder: Path, **facts: object) -> Path:
    """A program that answers the probe as a Python of another version would."""
    told = {
        "version": [3, 99, 0],
        "suffix": ".cpython-399-x86_64-linux-gnu.so",
        "numpy": "",
        "package": "/there/pyserver",
        "own": pyserver.__version__,
        "print": SOURCE_FINGERPRINT,
        "why": "",
    }
    script = folder / "other"
    script.write_text(f"#!/bin/sh\necho '{json.dumps(told | facts)}'\n")
    script.chmod(0o755)
    return script


def test_another_version_runs_the_same_pyserver_that_is_installed_in_it(tmp_path: Path) -> None:
    made = environment(tmp_path, python=str(other_python(tmp_path)))
    assert made.program == (str(tmp_path / "other"), "-P", "/there/pyserver/instance/start.py")


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"package": "", "own": "", "print": ""}, "and none is installed in it"),
        ({"own": "0.0.9"}, f"and the one in it has version 0.0.9, not {pyserver.__version__}"),
        ({"print": "abc"}, "and the one in it, '/there/pyserver', is made of other sources"),
        ({"print": "", "why": "ImportError: x"}, "cannot be imported: ImportError: x"),
        ({"numpy": "ModuleNotFoundError"}, "cannot import numpy"),
    ],
)
def test_another_version_needs_the_same_pyserver(
    tmp_path: Path, facts: dict[str, object], text: str
) -> None:
    script = other_python(tmp_path, **facts)
    with pytest.raises(InvalidArgumentError) as refused:
        environment(tmp_path, python=str(script))
    assert text in str(refused.value)
    if "numpy" not in facts:
        assert f"'{script}' -m pip install --force-reinstall '" in str(refused.value)
