"""Which Python a model runs with, before any process is started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

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
