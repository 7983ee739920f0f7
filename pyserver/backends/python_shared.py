"""`pyserver.shared_array`, ours alone: large constants that all instances of a model read, of which
there is one copy.

    WEIGHTS = pyserver.shared_array("weights", lambda: np.load(path))

The first process that asks makes the array and puts it into a memfd that nobody can write to any
more; core keeps that and hands it to whoever asks later (core/shared_arrays.py). Without a server
the array is made, and is read-only, too.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyserver.backends.interface import Server
from pyserver.backends.python_server import connection
from pyserver.errors import InvalidArgumentError

Array = npt.NDArray[Any]
_WRITE_BYTES: Final = 64 << 20  # at once, so that others run meanwhile
SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class SharedArrays:
    """This process's; each key is asked for once."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, bool], Array] = {}
        self._locks: defaultdict[tuple[str, bool], threading.RLock] = defaultdict(threading.RLock)
        self._making: set[tuple[str, bool]] = set()

    def get(self, key: str, make: Callable[[], npt.ArrayLike], everywhere: bool) -> Array:
        name = (key, everywhere)
        with self._locks[name]:
            if name in self._arrays:
                return self._arrays[name]
            if name in self._making:
                raise InvalidArgumentError(
                    f"shared array '{key}' asks for itself while it is being made"
                )
            self._making.add(name)
            try:
                server = connection.server
                if server is None:
                    made = _frozen(np.array(make()))
                else:
                    made = _shared(server, key, make, everywhere)
            finally:
                self._making.discard(name)
            self._arrays[name] = made
            return made


def _shared(server: Server, key: str, make: Callable[[], npt.ArrayLike], everywhere: bool) -> Array:
    about = {"key": key, "everywhere": everywhere}
    answer = server.ask({"what": "shared_array", **about})
    if answer["value"] is not None:
        return _mapped(answer["fds"], answer["value"])
    try:
        made = np.ascontiguousarray(make())
        if made.dtype.hasobject or made.dtype.fields is not None:
            raise InvalidArgumentError(
                f"shared array '{key}' has dtype {made.dtype}; it must be of plain numbers"
            )
        form = {"dtype": made.dtype.str, "shape": list(made.shape), "bytes": made.nbytes}
        server.ask({"what": "reserve_shared_array", **about, **form})
        memfd = _sealed(made)
        del made
        try:
            server.ask({"what": "keep_shared_array", **about}, [memfd])
            return _mapped([os.dup(memfd)], form)
        finally:
            os.close(memfd)
    except BaseException:
        server.send({"op": "call", "id": 0, "what": "drop_shared_array", **about})
        raise


def _sealed(array: Array) -> int:
    """A memfd with the array's bytes, which stay as they are for ever."""
    memfd = os.memfd_create("pyserver-shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        # A mapping is of at least one byte.
        left = array.reshape(-1).view(np.uint8).data if array.nbytes else memoryview(b"\0")
        while left:
            left = left[os.write(memfd, left[:_WRITE_BYTES]) :]
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(memfd)
        raise
    return memfd


def _mapped(fds: list[int], form: dict[str, Any]) -> Array:
    (memfd,) = fds
    try:
        mapping = mmap.mmap(memfd, 0, prot=mmap.PROT_READ)
    finally:
        os.close(memfd)
    dtype, shape = np.dtype(form["dtype"]), tuple(form["shape"])
    return np.ndarray(shape, dtype, buffer=mapping)


def _frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array


_arrays: Final = SharedArrays()


def shared_array(key: str, make: Callable[[], npt.ArrayLike], *, all_models: bool = False) -> Array:
    """The array of that key, read-only: made by `make()` in the first process that asks, and its
    pages shared by all others. From any thread, also while the model file is imported.

    `key` counts within this model as it was loaded: a reload makes its own. With `all_models` it
    counts for the whole server. While one process makes it, the others that ask wait; when that one
    fails or dies, the next one makes it. The server forgets it when the last process that has asked
    for it has ended. Raises what `make` raises; UnavailableError where it does not fit into
    --backend-config=python,shared-array-byte-size; InvalidArgumentError for arrays of objects.
    """
    return _arrays.get(key, make, all_models)
