"""Object storage in memory: what it holds, what it was asked for, and how it fails."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from pyserver.repository.storage import Listing, StorageError, StoredFile, checked_listing

CONFIG = b"""
backend: "identity"
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""


class MemoryStorage:
    """`before_fetch(name)` may raise, or change what is held."""

    def __init__(self, **models: dict[str, bytes]) -> None:
        self.held = models
        self.tagless = False
        self.fetched: list[str] = []
        self.listed = 0
        self.before_fetch: Callable[[str], None] = lambda name: None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return "s3://bucket/repository"

    def models(self) -> list[str]:
        return sorted(self.held)

    def listing(self, model: str) -> Listing:
        self.listed += 1
        files, folders = [], []
        for name, content in self.held[model].items():
            if name.endswith("/"):
                folders.append(name.removesuffix("/"))
                continue
            tag = "" if self.tagless else hashlib.md5(content).hexdigest()
            files.append(StoredFile(name, len(content), tag))
        return checked_listing(f"{self.url}/{model}", files, folders)

    def fetch(self, model: str, file: StoredFile, target: Path) -> None:
        with self._lock:
            self.fetched.append(file.name)
            self.before_fetch(file.name)
        content = self.held[model].get(file.name)
        if content is None:
            raise StorageError(f"failed to download '{self.url}/{model}/{file.name}': it is gone")
        target.write_bytes(content)

    def taken(self) -> list[str]:
        """What was fetched since the last time."""
        fetched, self.fetched = sorted(self.fetched), []
        return fetched
