"""Constants that instance processes share (`pyserver.shared_array`): who makes each, who waits for
it, and the sealed memfd that is handed to all.

    nobody has it --the first asks--> being made by it --keep--> kept --its last user ends--> gone
                                          |  it fails or dies: the next who waits makes it

Nothing is mapped here: core only holds descriptors, and counts their bytes against a budget.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from pyserver.control.channel import Message
from pyserver.errors import InvalidArgumentError, UnavailableError

log = logging.getLogger(__name__)

Process = object  # that it is the same one is all that counts
Key = tuple[int, str]  # the handle of the version that it belongs to, or 0; and the model's own key
_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@dataclass
class _Shared:
    maker: Process | None
    byte_size: int = 0  # reserved, or kept
    form: Message | None = None
    fd: int = -1
    users: set[Process] = field(default_factory=set)
    waiting: deque[tuple[Process, asyncio.Future[bool]]] = field(default_factory=deque)


class SharedArrays:
    """Belongs to the control plane's loop. `budget_bytes` bounds all of them together."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._used_bytes = 0
        self._arrays: dict[Key, _Shared] = {}

    @property
    def byte_size(self) -> int:
        return self._used_bytes

    def __len__(self) -> int:
        return len(self._arrays)

    async def get(self, key: Key, process: Process) -> tuple[Message | None, list[int]]:
        """What it is and its descriptor, which stays ours; (None, []): make it, and tell.

        Raises InvalidArgumentError where who waits would wait for itself.
        """
        shared = self._arrays.get(key)
        if shared is None:
            self._arrays[key] = _Shared(maker=process)
            return None, []
        if shared.maker is None:
            shared.users.add(process)
        else:
            self._refuse_circle(key, shared, process)
            turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            shared.waiting.append((process, turn))
            if not await turn:
                return None, []  # it is the maker now
        if process not in shared.users:
            raise UnavailableError("the process has ended")
        return shared.form, [shared.fd]

    def reserve(self, key: Key, process: Process, form: Message) -> None:
        """Before the memory is taken. Raises UnavailableError when there is not so much left."""
        shared = self._made_by(key, process)
        size = int(form["bytes"])
        if size < 0 or size > self._budget_bytes - self._used_bytes:
            raise UnavailableError(
                f"shared array '{key[1]}' of {size} bytes does not fit: {self._used_bytes} of the"
                f" {self._budget_bytes} bytes of --backend-config=python,shared-array-byte-size are"
                " in use"
            )
        self._used_bytes += size - shared.byte_size
        shared.byte_size = size
        shared.form = form

    def keep(self, key: Key, process: Process, fds: list[int]) -> None:
        """It is made: the descriptor is taken over, if it is what was promised."""
        shared = self._made_by(key, process)
        if len(fds) != 1 or shared.form is None:
            raise InvalidArgumentError(f"shared array '{key[1]}' came without its memory")
        wanted = max(1, shared.byte_size)
        seals = fcntl.fcntl(fds[0], fcntl.F_GET_SEALS)
        if os.fstat(fds[0]).st_size != wanted or seals & _SEALS != _SEALS:
            raise InvalidArgumentError(f"shared array '{key[1]}' is not sealed, or of another size")
        shared.fd = fds.pop()
        shared.maker = None
        shared.users.add(process)
        waiting, shared.waiting = shared.waiting, deque()
        for user, turn in waiting:
            shared.users.add(user)
            if not turn.done():
                turn.set_result(True)

    def drop(self, key: Key, process: Process) -> None:
        """Its maker could not make it."""
        shared = self._arrays.get(key)
        if shared is None or shared.maker is not process:
            return
        self._used_bytes -= shared.byte_size
        shared.byte_size, shared.form, shared.maker = 0, None, None
        while shared.waiting:
            successor, turn = shared.waiting.popleft()
            if not turn.done():
                shared.maker = successor
                turn.set_result(False)
                return
        del self._arrays[key]

    def ended(self, process: Process) -> None:
        """The process is gone: what it made is made by the next, what only it used is forgotten."""
        for key, shared in list(self._arrays.items()):
            for one, turn in shared.waiting:
                if one is process:
                    turn.cancel()
            shared.waiting = deque(pair for pair in shared.waiting if pair[0] is not process)
            self.drop(key, process)
            shared.users.discard(process)
            if shared.maker is None and not shared.users and self._arrays.get(key) is shared:
                self._forget(key, shared)

    def close(self) -> None:
        for key, shared in list(self._arrays.items()):
            for _, turn in shared.waiting:
                turn.cancel()
            self._forget(key, shared)

    def _forget(self, key: Key, shared: _Shared) -> None:
        if shared.fd >= 0:
            os.close(shared.fd)
        self._used_bytes -= shared.byte_size
        del self._arrays[key]
        log.debug("shared array '%s' of %d bytes is forgotten", key[1], shared.byte_size)

    def _made_by(self, key: Key, process: Process) -> _Shared:
        shared = self._arrays.get(key)
        if shared is None or shared.maker is not process:
            raise InvalidArgumentError(f"shared array '{key[1]}' is not this process's to make")
        return shared

    def _refuse_circle(self, key: Key, shared: _Shared, process: Process) -> None:
        """Each maker waits for at most a few others: whoever leads back to us closes a circle."""
        seen: set[int] = set()
        makers = [shared.maker]
        while makers:
            maker = makers.pop()
            if maker is process:
                raise InvalidArgumentError(
                    f"shared array '{key[1]}' would wait for itself: its maker waits for an array"
                    " that this process is making"
                )
            if maker is None or id(maker) in seen:
                continue
            seen.add(id(maker))
            makers += [
                other.maker
                for other in self._arrays.values()
                if any(one is maker for one, _ in other.waiting)
            ]


def form_of(message: Message) -> Message:
    """What a process says of its array, checked: it comes from a process that runs foreign code."""
    dtype, shape, size = message.get("dtype"), message.get("shape"), message.get("bytes")
    plain = (
        isinstance(dtype, str)
        and isinstance(shape, list)
        and all(isinstance(one, int) and one >= 0 for one in shape)
        and isinstance(size, int)
    )
    if not plain:
        raise InvalidArgumentError("a shared array needs dtype, shape and bytes")
    return {"dtype": dtype, "shape": shape, "bytes": size}
