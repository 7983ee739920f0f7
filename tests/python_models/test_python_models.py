"""Model files written for Triton, unchanged: the same answers and errors as the real Triton gave,
but for the differences that differing.py lists with their reasons.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.targets.pyserver import Pyserver
from tests.python_models.differing import DIFFERING, ERRORS
from tests.python_models.servers import answers_of
from tests.python_models.table import CALLS

RECORDED: dict[str, Any] = json.loads(
    Path(__file__).with_name("recorded.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("python-models")
    return answers_of(Pyserver(folder / "server.log"), folder)


def test_every_call_has_something_to_compare_with() -> None:
    names = [call.name for call in CALLS]
    assert len(set(names)) == len(names)
    assert sorted(names) == sorted(RECORDED["answers"])
    assert set(DIFFERING) <= set(names)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_answers_as_on_triton(seen: dict[str, Any], call: Any) -> None:
    recorded = RECORDED["answers"][call.name]
    listed = DIFFERING.get(call.name)
    wanted = listed.instead_of(recorded) if listed else recorded
    assert seen["answers"][call.name] == wanted


def test_models_that_cannot_be_loaded_say_why(seen: dict[str, Any]) -> None:
    wanted = {name: ERRORS.get(name, (None, text))[1] for name, text in RECORDED["errors"].items()}
    wanted |= {name: text for name, (_, text) in ERRORS.items()}
    assert seen["errors"] == wanted
