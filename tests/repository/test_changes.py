"""What a look at the repositories makes of changes: tables of (marks, time) -> what is done."""

from typing import Any

import pytest

from pyserver.repository.changes import SettledChanges

Look = tuple[float, dict[str, str], list[str], list[str]]  # when, marks, load, unload


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param([(0, {"a": "1"}, [], []), (9, {"a": "1"}, [], [])], id="nothing changed"),
        pytest.param(
            [
                (0, {"a": "1", "b": "1"}, [], []),
                (0.9, {"a": "1", "b": "1"}, [], []),
                (1, {"a": "1", "b": "1"}, ["b"], []),
                (2, {"a": "1", "b": "1"}, [], []),
            ],
            id="a new model, once it lies still",
        ),
        pytest.param(
            [
                (0, {"a": "2"}, [], []),
                (0.8, {"a": "3"}, [], []),
                (1.6, {"a": "4"}, [], []),
                (2.5, {"a": "4"}, [], []),
                (2.6, {"a": "4"}, ["a"], []),
            ],
            id="a model that is being written for a while",
        ),
        pytest.param([(0, {}, [], []), (1, {}, [], ["a"]), (2, {}, [], [])], id="a model is gone"),
        pytest.param(
            [(0, {}, [], []), (0.5, {"a": "2"}, [], []), (1.5, {"a": "2"}, ["a"], [])],
            id="a folder that was replaced",
        ),
        pytest.param(
            [(0, {"a": "2"}, [], []), (1, {"a": "1"}, [], []), (3, {"a": "1"}, [], [])],
            id="a change that was taken back",
        ),
        pytest.param(
            [(0, {"a": "1", "b": "1"}, [], []), (1, {"a": "1"}, [], []), (3, {"a": "1"}, [], [])],
            id="a model that came and went unseen",
        ),
        pytest.param(
            [
                (0, {"c": "1", "a": "2", "b": "1"}, [], []),
                (1, {"c": "1", "b": "1"}, ["b", "c"], []),
                (2, {"c": "1", "b": "1"}, [], ["a"]),
            ],
            id="several at once, each by itself, by name",
        ),
    ],
)
def test_changes_are_taken_when_they_have_settled(looks: list[Look]) -> None:
    changes = SettledChanges({"a": "1"}, settle_s=1)
    for now_s, marks, load, unload in looks:
        settled = changes.take(marks, now_s)
        assert (settled.load, settled.unload) == (load, unload), now_s
    assert not changes.moving


def test_what_is_left_alone_is_taken_the_next_time() -> None:
    changes = SettledChanges({"a": "1"}, settle_s=1)
    changes.take({"a": "2"}, 0)
    assert changes.take({"a": "2"}, 5, leave={"a"}).load == []
    assert changes.moving
    assert changes.take({"a": "2"}, 6).load == ["a"]


def test_a_folder_that_vanishes_between_two_looks_is_no_surprise() -> None:
    changes: Any = SettledChanges({}, settle_s=0)
    assert changes.take({"a": "1"}, 0).load == ["a"]
    assert changes.take({}, 0).unload == ["a"]
    assert changes.take({}, 0).unload == []
