"""A core with fakes around it; nothing of it is left open."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pyserver.core.role import Predecessor
from tests.core.fakes import Bench, make_bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Callable[..., Bench]]:
    made: list[Bench] = []
    before = {entry.name for entry in Path("/proc/self/fd").iterdir()}

    def make(*predecessor: Predecessor, **settings: Any) -> Bench:
        made.append(make_bench(*predecessor, model_repository=(str(tmp_path),), **settings))
        return made[-1]

    yield make
    for one in made:
        await one.close()
    await asyncio.sleep(0)
    left = {entry.name for entry in Path("/proc/self/fd").iterdir()} - before
    # The listing itself holds one descriptor for a moment.
    assert len(left) <= 1, f"descriptors left open: {left}"
