"""pyserver/_core.pyi says of the native module what is so: the same names, no more and no less."""

from __future__ import annotations

import ast
from pathlib import Path

from pyserver import _core

STUB = Path(_core.__file__).parent / "_core.pyi"
if not STUB.exists():  # a module that was built elsewhere
    STUB = Path(__file__).resolve().parents[2] / "pyserver" / "_core.pyi"


def _names(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    made: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            made[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            made[node.target.id] = node
    return made


def _public(owner: object) -> set[str]:
    return {name for name in vars(owner) if not name.startswith("_")}


def test_the_module_and_its_stub_have_the_same_names() -> None:
    stub = _names(ast.parse(STUB.read_text()).body)
    assert set(stub) == _public(_core)
    for name, node in stub.items():
        if isinstance(node, ast.ClassDef):
            members = {member for member in _names(node.body) if not member.startswith("_")}
            assert members == _public(getattr(_core, name)), name


def test_the_tables_of_datatypes_agree() -> None:
    from pyserver.datatype import DATATYPES

    rows = [(row.number, row.wire_name, row.byte_size) for row in DATATYPES]
    assert list(_core.DATATYPES[1:]) == rows
