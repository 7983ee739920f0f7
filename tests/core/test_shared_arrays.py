"""Who makes a shared array, who waits, and when it is forgotten: core's half, without processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
from typing import Any

import pytest

from pyserver.core.shared_arrays import SharedArrays, form_of
from pyserver.errors import InvalidArgumentError, UnavailableError

KEY = (1, "weights")
A, B, C, D = (object() for _ in range(4))
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def form(size: int) -> dict[str, Any]:
    return {"dtype": "|u1", "shape": [size], "bytes": size}


def memory(size: int, seals: int = SEALS) -> int:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def make(shared: SharedArrays, process: object, size: int = 8, key: Any = KEY) -> int:
    shared.reserve(key, process, form(size))
    fd = memory(size)
    shared.keep(key, process, [fd])
    return fd


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


async def waits(work: Any) -> asyncio.Task[Any]:
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_the_first_makes_it_and_the_others_wait() -> None:
    shared = SharedArrays(100)
    assert await shared.get(KEY, A) == (None, [])
    others = [await waits(shared.get(KEY, name)) for name in (B, C)]
    fd = make(shared, A)
    assert await asyncio.gather(*others) == [(form(8), [fd])] * 2
    assert await shared.get(KEY, D) == (form(8), [fd])
    assert shared.byte_size == 8
    for name in (A, B, C, D):
        assert is_open(fd)
        shared.ended(name)
    assert not is_open(fd) and shared.byte_size == 0 and len(shared) == 0


@pytest.mark.parametrize("end", ["ended", "drop"])
async def test_when_its_maker_fails_or_dies_the_next_one_makes_it(end: str) -> None:
    shared = SharedArrays(100)
    await shared.get(KEY, A)
    shared.reserve(KEY, A, form(60))
    second, third = [await waits(shared.get(KEY, name)) for name in (B, C)]
    shared.ended(A) if end == "ended" else shared.drop(KEY, A)
    assert await second == (None, [])
    assert shared.byte_size == 0 and not third.done()
    fd = make(shared, B, 60)
    assert await third == (form(60), [fd])
    shared.ended(B)
    shared.ended(C)
    assert len(shared) == 0


async def test_who_dies_while_it_waits_is_passed_over() -> None:
    shared = SharedArrays(100)
    await shared.get(KEY, A)
    dead, next_one = [await waits(shared.get(KEY, name)) for name in (B, C)]
    shared.ended(B)
    shared.ended(A)
    assert await next_one == (None, [])
    with pytest.raises(asyncio.CancelledError):
        await dead
    shared.drop(KEY, C)
    assert len(shared) == 0


async def test_a_user_that_dies_at_the_moment_of_the_answer_gets_none() -> None:
    shared = SharedArrays(100)
    await shared.get(KEY, A)
    waiting = await waits(shared.get(KEY, B))
    make(shared, A)
    shared.ended(A)
    shared.ended(B)
    with pytest.raises(UnavailableError):
        await waiting
    assert len(shared) == 0


async def test_the_budget_is_of_all_together() -> None:
    shared = SharedArrays(100)
    await shared.get(KEY, A)
    make(shared, A, 60)
    other = (1, "more")
    await shared.get(other, A)
    with pytest.raises(UnavailableError, match="'more' of 41 bytes does not fit: 60 of the 100"):
        shared.reserve(other, A, form(41))
    shared.drop(other, A)
    assert shared.byte_size == 60
    shared.close()


async def test_those_who_make_for_each_other_are_told_so() -> None:
    shared = SharedArrays(100)
    one, two = (1, "one"), (1, "two")
    await shared.get(one, A)
    await shared.get(two, B)
    waiting = await waits(shared.get(two, A))
    with pytest.raises(InvalidArgumentError, match="'one' would wait for itself"):
        await shared.get(one, B)
    shared.drop(two, B)
    assert await waiting == (None, [])
    shared.close()


@pytest.mark.parametrize(("size", "seals"), [(8, 0), (9, SEALS), (8, fcntl.F_SEAL_WRITE)])
async def test_memory_that_could_change_is_not_taken(size: int, seals: int) -> None:
    shared = SharedArrays(100)
    await shared.get(KEY, A)
    shared.reserve(KEY, A, form(8))
    fds = [memory(size, seals)]
    with pytest.raises(InvalidArgumentError, match="not sealed, or of another size"):
        shared.keep(KEY, A, fds)
    os.close(fds.pop())
    with pytest.raises(InvalidArgumentError, match="not this process's to make"):
        shared.keep(KEY, B, [])
    shared.close()


@pytest.mark.parametrize("change", [{"dtype": 3}, {"shape": [-1]}, {"shape": 3}, {"bytes": "8"}])
def test_forms_are_checked(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        form_of(form(8) | change)
