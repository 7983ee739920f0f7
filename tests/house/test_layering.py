"""Who may import whom: Python by its syntax tree, C++ by its #include lines (house.md, "Layering").

Imports are checked wherever they stand, also inside functions; those under TYPE_CHECKING are free,
as they do not exist at run time.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Lowest first. A package may import what lies in lower rows, and itself; never its own row.
PYTHON_ROWS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("datatype", "_core"),
    ("settings",),
    ("beneath",),
    ("cache_settings",),
    ("config",),
    ("backends", "repository", "observe"),
    ("control",),
    ("frontend", "core", "instance"),
    ("supervisor", "check"),
    ("cli",),
)
# Roles are started by name: whoever starts them does not import them.
NEVER = {
    "supervisor": {"frontend", "core", "instance"},
    "check": {"frontend", "core", "instance"},
    "cli": {"frontend", "core", "instance"},
}

CPP_USES: dict[str, set[str]] = {
    "base": set(),
    "shm": {"base"},
    "model": {"base", "shm"},
    "protocol": {"base", "shm", "model"},
    "sched": {"base", "shm", "model"},
    "instance": {"base", "shm", "model"},
    "engine": {"base", "shm", "model", "protocol", "sched", "instance"},
    "gateway": {"base", "shm", "model", "protocol", "sched", "instance"},
    "bindings": {"base", "shm", "model", "protocol", "sched", "instance", "engine", "gateway"},
}


def _room(path: Path) -> str:
    """The package or module right below pyserver/."""
    return path.relative_to(ROOT / "pyserver").parts[0].removesuffix(".py").removesuffix(".pyi")


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import that runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from _imports(other)
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            module = node.module or ""
            if module == "pyserver":
                yield from ((node.lineno, f"pyserver.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module
        yield from _imports(node)


def _python_files() -> list[Path]:
    return sorted(
        path
        for path in (ROOT / "pyserver").rglob("*.py")
        if path.parent != ROOT / "pyserver" or not path.name.startswith("__")
    )


def faults(source: str, room: str) -> list[str]:
    """Imports of a file of `room` that go sideways or upwards."""
    rows = {name: number for number, row in enumerate(PYTHON_ROWS) for name in row}
    found = []
    for line, name in _imports(ast.parse(source)):
        parts = name.split(".")
        if parts[0] != "pyserver" or len(parts) < 2 or parts[1].startswith("__"):
            continue
        other = parts[1]
        if other == room:
            continue
        if other not in rows:
            found.append(f"line {line}: pyserver.{other} has no place in the layering")
        elif rows[other] >= rows[room] or other in NEVER.get(room, set()):
            found.append(f"line {line}: {room} must not import {other}")
    return found


@pytest.mark.parametrize("path", _python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_python_imports_go_downwards(path: Path) -> None:
    room = _room(path)
    assert any(room in row for row in PYTHON_ROWS), f"{room} has no place in the layering"
    assert faults(path.read_text(), room) == []


def test_the_check_sees_what_it_must() -> None:
    assert faults("import pyserver.core.x", "frontend") == ["line 1: frontend must not import core"]
    assert faults("def f():\n  from pyserver import cli", "config") == [
        "line 2: config must not import cli"
    ]
    assert faults("from pyserver.instance import x", "supervisor") != []
    assert faults("from pyserver.control.channel import pair", "supervisor") == []
    assert faults("if TYPE_CHECKING:\n  import pyserver.cli", "config") == []
    assert faults("import pyserver.nowhere", "cli") != []


def test_cpp_includes_go_downwards() -> None:
    found = []
    for path in sorted((ROOT / "csrc").rglob("*")):
        if path.suffix not in (".h", ".cc"):
            continue
        room = path.relative_to(ROOT / "csrc").parts[0]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if match is None:
                continue
            other = match[1].split("/")[0]
            if other != room and other not in CPP_USES[room]:
                found.append(f"{path.relative_to(ROOT)}:{number}: {room} must not use {match[1]}")
    assert found == []


def test_only_bindings_see_python() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "csrc").rglob("*")
        if path.suffix in (".h", ".cc")
        and path.relative_to(ROOT / "csrc").parts[0] != "bindings"
        and re.search(r"#\s*include\s*[<\"](pybind11|Python\.h)", path.read_text())
    ]
    assert found == []


LIGHT_ROLES = [
    # (what is imported, what must not come along)
    ("pyserver.cli.main", ("numpy", "asyncio", "aiohttp", "google", "grpc", "ctypes")),
    ("pyserver.supervisor.main", ("numpy", "asyncio", "aiohttp", "google", "grpc")),
    ("pyserver.settings", ("numpy", "asyncio", "google")),
    ("pyserver.datatype", ("numpy",)),
    ("pyserver", ("numpy", "asyncio", "google", "importlib.metadata")),
    ("pyserver.backends.python_decorator", ("numpy", "asyncio")),
    ("pyserver.frontend", ("numpy", "asyncio", "aiohttp", "google")),
]


@pytest.mark.parametrize(("module", "absent"), LIGHT_ROLES, ids=lambda one: str(one))
def test_small_processes_stay_small(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded & set(absent) == set()
