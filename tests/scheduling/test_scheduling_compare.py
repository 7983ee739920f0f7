"""The comparison of what was seen, and the list of differences: pure, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scheduling.compare import differences, stable
from tests.scheduling.difference import Differing

_SEEN: dict[str, Any] = {
    "answers": {"a": {"outputs": {"OUT": [[2]]}}, "b": {"status": "UNAVAILABLE", "error": "full"}},
    "batches": {"m": [[{"id": "a"}], [{"id": "b"}]]},
    "notes": [{"answered": ["a"]}],
}


def test_the_same_has_no_differences() -> None:
    assert differences(_SEEN, _SEEN) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("answers", "a", "outputs", "OUT"), [[3]]),
        (("answers", "b", "error"), "fuller"),
        (("answers", "b"), None),
        (("answers", "c"), {"outputs": {}}),
        (("batches", "m"), [[{"id": "a"}, {"id": "b"}]]),
        (("batches", "m", 0), [{"id": "b"}]),
        (("batches",), None),
        (("notes", 0, "answered"), []),
    ],
)
def test_each_change_is_a_difference(path: tuple[str | int, ...], value: Any) -> None:
    changed = Differing("in a test", {path: value}).instead_of(_SEEN)
    assert len(differences(_SEEN, changed)) == 1
    assert differences(changed, changed) == []


def test_numbers_and_booleans_differ() -> None:
    assert differences({"START": 1}, {"START": True}) != []


def test_traces_folders_and_addresses_do_not_count() -> None:
    text = "failed: /tmp/x/models/m/1: <Tensor at 0x7f00aabbcc>\n\nAt:\n  model.py(3): execute\n"
    assert stable({"a": [text]}) == {"a": ["failed: <models>/m/1: <Tensor at <address>>"]}
