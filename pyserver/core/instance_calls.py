"""What instances ask of core by themselves: models to load and unload, readiness, constants that
they share, and what they count.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyserver.control.c_numbers import leading_integer
from pyserver.control.channel import Message
from pyserver.core.custom_metrics import CustomMetrics
from pyserver.core.shared_arrays import SharedArrays, form_of
from pyserver.errors import (
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    ServerError,
    UnavailableError,
)
from pyserver.repository.override import LoadOverride, load_override
from pyserver.repository.registry import Registry
from pyserver.settings import Settings

if TYPE_CHECKING:
    from pyserver.core.instance_process import InstanceProcess
    from pyserver.core.model_loader import ModelLoader

log = logging.getLogger(__name__)

_NEWEST: Final = -1


@dataclass(frozen=True, slots=True)
class _Call:
    """`waiter`: the model whose load waits for it; `handle`: the version that asks."""

    waiter: str
    handle: int
    process: InstanceProcess
    message: Message
    fds: list[int]


class InstanceCalls:
    """Answers every call, whatever becomes of it. Belongs to the control plane's loop."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self.metrics = CustomMetrics()
        self.shared = SharedArrays(settings.shared_array_byte_size())
        self._settings = settings
        self._registry = registry
        self._loader: ModelLoader | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, loader: ModelLoader) -> None:
        self._loader = loader

    def heard(
        self,
        model: str,
        handle: int,
        loading: bool,
        process: InstanceProcess,
        message: Message,
        fds: list[int],
    ) -> None:
        """A message that was not asked for, of an instance of `model`; its descriptors are ours.

        `handle` is that of its version; `loading`: the model's load, or the restart of the
        instance, waits for the process.
        """
        if message["op"] == "metrics":
            _close(fds)
            self.metrics.report(model, process, message["families"])
        elif message["op"] == "call":
            waiter = model if loading else ""
            self._start(self._answer(_Call(waiter, handle, process, message, fds)))
        else:
            _close(fds)
            log.warning("%s said '%s' without having been asked", process, message["op"])

    def ended(self, model: str, process: InstanceProcess) -> None:
        self.metrics.ended(model, process)
        self.shared.ended(process)

    def close(self) -> None:
        self.shared.close()
        for task in self._tasks:
            task.cancel()

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, call: _Call) -> None:
        answer: Message = {"op": "answer", "id": call.message.get("id")}
        given: list[int] = []
        try:
            if str(call.message.get("what")).endswith("shared_array"):
                answer["value"], given = await self._share(call)
            else:
                answer["value"] = await self._work(call.waiter, call.message, call.fds)
        except ServerError as error:
            answer |= {"error": str(error), "code": error.code}
        except Exception as error:  # a bug of ours: the instance must not wait for ever
            log.exception("a call of %s failed", call.process)
            answer |= {"error": f"{type(error).__name__}: {error}", "code": InternalError.code}
        finally:
            _close(call.fds)
        call.process.answer(answer, given)

    async def _share(self, call: _Call) -> tuple[Message | None, list[int]]:
        """The steps of `pyserver.shared_array`."""
        message, process, shared = call.message, call.process, self.shared
        key = (0 if message.get("everywhere") else call.handle, str(message.get("key")))
        what = message["what"]
        if what == "shared_array":
            return await shared.get(key, process)
        if what == "reserve_shared_array":
            shared.reserve(key, process, form_of(message))
        elif what == "keep_shared_array":
            shared.keep(key, process, call.fds)
        elif what == "drop_shared_array":
            shared.drop(key, process)
        else:
            raise InvalidArgumentError(f"there is no call '{what}'")
        return None, []

    async def _work(self, waiter: str, message: Message, fds: list[int]) -> Any:
        works: dict[str, Callable[[], Awaitable[Any]]] = {
            "load_model": lambda: self._load(waiter, message, fds),
            "unload_model": lambda: self._unload(message),
            "is_model_ready": lambda: self._is_ready(message),
        }
        work = works.get(str(message.get("what")))
        if work is None:
            raise InvalidArgumentError(f"there is no call '{message.get('what')}'")
        return await work()

    async def _load(self, waiter: str, message: Message, fds: list[int]) -> None:
        loader = self._explicit_loader()
        files = await asyncio.to_thread(_read_files, message.get("files") or [], fds)
        parameters: dict[str, str | bytes] = dict(files)
        if message.get("config"):
            parameters["config"] = str(message["config"])
        override: LoadOverride | None = load_override(parameters)
        await _to_its_end(loader.load(str(message["model"]), override, waiter=waiter))

    async def _unload(self, message: Message) -> None:
        loader, name = self._explicit_loader(), str(message["model"])
        dependents = bool(message.get("unload_dependents"))
        work = asyncio.ensure_future(loader.unload(name, dependents=dependents))
        if loader.is_needed(name):
            # Ensembles are drained first, and one of their requests may be the one that asks.
            task = asyncio.ensure_future(_logged(work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            await asyncio.shield(work)

    async def _is_ready(self, message: Message) -> bool:
        version = _version(str(message.get("version") or ""))
        if self._loader is None:
            return False
        try:
            found = self._registry.find(str(message["model"]), version)
        except (NotFoundError, UnavailableError, InvalidArgumentError):
            return False
        return found.loaded is not None and await self._loader.running.is_ready(found.loaded.handle)

    def _explicit_loader(self) -> ModelLoader:
        if not self._settings.loads_when_asked or self._loader is None:
            raise UnavailableError(
                "explicit model load / unload is not allowed if polling is enabled"
            )
        return self._loader


async def _to_its_end(work: Awaitable[None]) -> None:
    """What a model has begun is finished, even if it dies meanwhile."""
    await asyncio.shield(asyncio.ensure_future(work))


async def _logged(work: asyncio.Future[None]) -> None:
    try:
        await work
    except ServerError as error:
        log.error("an unload that a model asked for failed: %s", error)


def _read_files(sizes: list[list[Any]], fds: list[int]) -> dict[str, bytes]:
    """The contents lie in one file, one behind the other."""
    files: dict[str, bytes] = {}
    at = 0
    for name, size in sizes:
        parts: list[bytes] = []
        left = int(size)
        while left and fds:
            part = os.pread(fds[0], left, at)
            if not part:
                raise InternalError("the contents of the files were cut short")
            parts.append(part)
            at += len(part)
            left -= len(part)
        files[str(name)] = b"".join(parts)
    return files


def _version(text: str) -> int:
    if not text:
        return _NEWEST
    said = f"failed to get model version from specified version string '{text}'"
    try:
        number = leading_integer(text, 64)
    except OverflowError:
        number = None
    if number is None:
        raise InvalidArgumentError(
            f"{said} (details: stol), version should be an integral value > 0"
        )
    if number < 0:
        raise InvalidArgumentError(f"{said}, version should be an integral value > 0")
    return number


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
    fds.clear()
