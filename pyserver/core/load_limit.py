"""Loads that have an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from pyserver.config.limits import LOAD_TIMEOUT
from pyserver.errors import UnavailableError

T = TypeVar("T")


async def within(limit_s: float | None, load: Awaitable[T]) -> T:
    """Raises UnavailableError when the load takes longer. None: it may."""
    try:
        async with asyncio.timeout(limit_s):
            return await load
    except TimeoutError:
        raise UnavailableError(
            f"the model was not loaded within {limit_s:g} s (--load-timeout-secs, or parameter"
            f" '{LOAD_TIMEOUT}' of its config)"
        ) from None
