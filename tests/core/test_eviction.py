"""Which models leave memory: tables without a clock or a process."""

import pytest

from pyserver.core.eviction import Resident, expired, may_leave, retry_delay_s, to_evict


def one(name: str, size: int = 10, used: float = 0.0, **more: object) -> Resident:
    return Resident(name, size, used, **more)  # type: ignore[arg-type]


LRU = [one("new", 10, 30), one("old", 10, 10), one("middle", 10, 20)]


@pytest.mark.parametrize(
    ("residents", "excess", "leave"),
    [
        ([], 5, []),
        (LRU, 0, []),
        (LRU, 1, ["old"]),
        (LRU, 10, ["old"]),
        (LRU, 11, ["old", "middle"]),
        (LRU, 1000, ["old", "middle", "new"]),
        ([one("old", 10, 1, in_use=True), one("new", 10, 2)], 5, ["new"]),
        ([one("old", 10, 1, held=True), one("new", 10, 2)], 5, ["new"]),
        ([one("old", 10, 1, in_use=True), one("new", 10, 2, held=True)], 5, []),
        # What holds nothing makes no room, unless somebody can only leave after it.
        ([one("ensemble", 0, 1), one("other", 10, 2)], 5, ["other"]),
        ([one("e", 0, 1), one("s", 10, 0, needed_by=("e",))], 5, ["e", "s"]),
        # A step is as much in use as its ensembles are.
        ([one("e", 0, 9), one("s", 10, 0, needed_by=("e",)), one("x", 10, 5)], 5, ["x"]),
        ([one("e", 0, 9, in_use=True), one("s", 10, needed_by=("e",))], 5, []),
        ([one("e", 0, 9, held=True), one("s", 10, needed_by=("e",))], 5, []),
        (
            [
                one("s", 10, 1, needed_by=("inner", "outer")),
                one("inner", 0, 1, needed_by=("outer",)),
                one("outer", 0, 1),
            ],
            5,
            ["outer", "inner", "s"],
        ),
        # An ensemble that has left is no reason to stay.
        ([one("s", 10, 1, needed_by=("gone",))], 5, ["s"]),
    ],
)
def test_the_least_recently_used_leave_until_there_is_room(
    residents: list[Resident], excess: int, leave: list[str]
) -> None:
    assert to_evict(residents, excess) == leave


@pytest.mark.parametrize(
    ("residents", "leave"),
    [
        (LRU, ["old", "middle"]),
        ([one("used", 10, 0, in_use=True), one("pinned", 10, 0, held=True)], []),
        ([one("s", 10, 0, needed_by=("e",)), one("e", 0, 30)], []),
        ([one("s", 10, 0, needed_by=("e",)), one("e", 0, 20)], ["e", "s"]),
    ],
)
def test_the_keep_alive_counts_from_the_last_use(
    residents: list[Resident], leave: list[str]
) -> None:
    assert expired(residents, keep_alive_s=10, now_s=30) == leave


def test_what_may_leave_is_neither_used_nor_held() -> None:
    assert may_leave([one("a", in_use=True), one("b", held=True), one("c")]) == ["c"]


def test_failed_loads_are_tried_again_later_and_later() -> None:
    assert [retry_delay_s(count) for count in (1, 2, 3, 6, 7, 500)] == [1, 2, 4, 32, 60, 60]
