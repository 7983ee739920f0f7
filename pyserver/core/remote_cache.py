"""Cached responses that several servers share, in Redis.

The engine asks here before it executes what is not in its own memory, and hands over what it has
kept. Redis is never in the way for long: what it does not tell within its time is executed, and
after a failure it is left alone for a while.

An answer's key begins with a digest of the model's configuration and of all its files, so that
servers share answers only where they serve the same model.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from pyserver.cache_settings import RedisSettings
from pyserver.core.engine_link import Engine
from pyserver.errors import UnavailableError

log = logging.getLogger(__name__)

# After a failure nobody is asked for so long, and as often at most is it told in the log.
RETRY_AFTER_S: Final = 5.0
_CHUNK: Final = 1 << 20


def model_digest(config: str, model_dir: Path, version: int) -> str:
    """Of the configuration and of every file that the version may use: all in the model's folder
    but other versions'. Reads them whole.
    """
    digest = hashlib.blake2b(config.encode(), digest_size=16)
    for path in sorted(model_dir.rglob("*")):
        name = path.relative_to(model_dir)
        if name.parts[0].isdigit() and name.parts[0] != str(version):
            continue
        if "__pycache__" in name.parts or not path.is_file():
            continue
        digest.update(f"\0{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


class RemoteCache:
    """One connection pool; all methods belong to the loop's thread."""

    def __init__(
        self, settings: RedisSettings, engine: Engine, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._engine = engine
        self._loop = loop
        self._settings = settings
        self._redis: Any = None
        self._prefixes: dict[int, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._left_alone_until = 0.0

    async def open(self) -> None:
        """Connects, and says in the log whether Redis is there; the server serves without it, too.

        Raises UnavailableError when the client's package is not installed.
        """
        try:
            import redis.asyncio as client
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ModuleNotFoundError as error:
            raise UnavailableError(
                "--cache-config=redis needs the Python package redis: pip install 'pyserver[redis]'"
            ) from error
        settings = self._settings
        tls: dict[str, Any] = (
            {
                "ssl": True,
                "ssl_ca_certs": settings.ca_certificate or None,
                "ssl_certfile": settings.certificate or None,
                "ssl_keyfile": settings.certificate_key or None,
            }
            if settings.tls
            else {}
        )
        self._redis = client.Redis(
            host=settings.host,
            port=settings.port,
            username=settings.user or None,
            password=settings.password or None,
            db=settings.db,
            socket_timeout=settings.wait_timeout_s,
            socket_connect_timeout=settings.wait_timeout_s,
            retry=Retry(NoBackoff(), 0),
            **tls,
        )
        self._engine.cache_elsewhere()
        try:
            await asyncio.wait_for(self._redis.ping(), settings.wait_timeout_s)
        except Exception as error:  # the client's errors have no common base
            self._failed(error)
        else:
            log.info("response cache: Redis at %s:%d", settings.host, settings.port)

    def serve(self, handle: int, digest: str) -> None:
        """The answers of this loaded model version are shared under the digest."""
        self._prefixes[handle] = f"pyserver:{digest}:".encode()

    def forget(self, handle: int) -> None:
        self._prefixes.pop(handle, None)

    def heard(self, what: str, handle: int, key: bytes, data: bytes = b"") -> None:
        """An event of the engine's: "cache_ask", or "cache_keep" with the answer."""
        prefix = self._prefixes.get(handle)
        away = prefix is None or self._loop.time() < self._left_alone_until
        if what == "cache_ask":
            if prefix is None or away:
                self._engine.cache_answer(handle, key, None)
            else:
                self._spawn(self._ask(prefix, handle, key))
        elif prefix is None or away:
            self._engine.cache_kept(len(data))
        else:
            self._spawn(self._keep(prefix, key, data))

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._redis is not None:
            await self._redis.aclose()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, prefix: bytes, handle: int, key: bytes) -> None:
        found: bytes | None = None
        try:
            name = prefix + key.hex().encode()
            found = await asyncio.wait_for(self._redis.get(name), self._settings.wait_timeout_s)
        except Exception as error:
            self._failed(error)
        finally:
            self._engine.cache_answer(handle, key, found)

    async def _keep(self, prefix: bytes, key: bytes, data: bytes) -> None:
        try:
            name = prefix + key.hex().encode()
            await asyncio.wait_for(self._redis.set(name, data), self._settings.wait_timeout_s)
        except Exception as error:
            self._failed(error)
        finally:
            self._engine.cache_kept(len(data))

    def _failed(self, error: BaseException) -> None:
        now = self._loop.time()
        if now < self._left_alone_until:
            return
        self._left_alone_until = now + RETRY_AFTER_S
        log.warning(
            "response cache: Redis at %s:%d does not answer (%s); requests are executed without it"
            " for %.0f s",
            self._settings.host,
            self._settings.port,
            str(error) or type(error).__name__,
            RETRY_AFTER_S,
        )
