"""Which load waits for which: an ensemble's for those of its steps, a model's for those that it
asks for in `initialize`. A wait that could never end is refused before it begins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from pyserver.errors import InvalidArgumentError


class LoadOrder:
    """The waits of this moment."""

    def __init__(self) -> None:
        self._waits: defaultdict[str, list[str]] = defaultdict(list)
        self._needs: list[list[str]] = []

    @contextmanager
    def waiting(self, waiter: str, name: str) -> Iterator[None]:
        """While the load of `waiter` waits for that of `name`. Raises InvalidArgumentError."""
        if self._leads(name, waiter):
            raise InvalidArgumentError(
                f"failed to load '{name}': model '{waiter}' asks for it while its own load is"
                f" waited for by '{name}'"
                if name != waiter
                else f"failed to load '{name}': the model asks for its own load while it is loaded"
            )
        self._waits[waiter].append(name)
        try:
            yield
        finally:
            self._waits[waiter].remove(name)
            if not self._waits[waiter]:
                del self._waits[waiter]

    @contextmanager
    def needing(self, names: list[str]) -> Iterator[None]:
        """While a load needs these models to stay."""
        self._needs.append(names)
        try:
            yield
        finally:
            self._needs.remove(names)

    def needed(self) -> set[str]:
        return {name for names in self._needs for name in names}

    def _leads(self, start: str, end: str) -> bool:
        seen: set[str] = set()
        todo = [start]
        while todo:
            name = todo.pop()
            if name == end:
                return True
            if name not in seen:
                seen.add(name)
                todo += self._waits.get(name, [])
        return False
