"""Listening at a name instead of a port: `unix:<path>`, or `unix-abstract:<name>`, which is in no
file system. Both are written as gRPC's clients write them.

One socket is bound for all frontends, which accept from it together: what SO_REUSEPORT does for
ports does not exist here. Its file is made with the process's umask and goes away with the server;
one that a killed server has left is replaced, and nothing else ever is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from pyserver.supervisor.listen import ListenError

_SCHEME: Final = "unix:"
_ABSTRACT: Final = "unix-abstract:"
# sockaddr_un's sun_path without the zero at its end.
_MOST_BYTES: Final = 107


def is_unix(address: str) -> bool:
    """Whether the address is a name for a socket; if so, its port means nothing."""
    return address.startswith((_SCHEME, _ABSTRACT))


def socket_name(address: str) -> str:
    """What `bind` takes: an absolute path, or a zero and the name of an abstract socket.

    Raises ListenError when the kernel could not take it.
    """
    if address.startswith(_ABSTRACT):
        text = address.removeprefix(_ABSTRACT)
        name = "\0" + text
    else:
        text = address.removeprefix(_SCHEME)
        path = Path(text.removeprefix("//") if text.startswith("///") else text)
        # The folder as others would find it too: see _is_bound.
        name = str(path.parent.resolve() / path.name)
    if not text or name.endswith(os.sep):
        raise ListenError(f"cannot listen at {address}: the name of a socket is missing")
    byte_size = len(os.fsencode(name))
    if byte_size > _MOST_BYTES:
        raise ListenError(
            f"cannot listen at {address}: {name.removeprefix(chr(0))} has {byte_size} bytes, and"
            f" the name of a Unix-domain socket may have {_MOST_BYTES}; use a shorter one"
        )
    return name


class UnixSocket(socket.socket):
    """A bound socket whose file is removed when it is closed."""

    def __init__(self, name: str) -> None:
        """Raises OSError when the name is taken, or cannot be."""
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._file: tuple[str, tuple[int, int]] | None = None
        try:
            self.setblocking(False)
            self.bind(name)
            if not name.startswith("\0"):
                self._file = name, _identity(os.lstat(name))
        except OSError:
            self.close()
            raise

    @property
    def address(self) -> str:
        """The name as clients write it."""
        name: str | bytes = self.getsockname()
        if isinstance(name, bytes):  # abstract
            return _ABSTRACT + os.fsdecode(name[1:])
        return _SCHEME + name

    def close(self) -> None:
        if self._file is not None:
            name, identity = self._file
            self._file = None
            with contextlib.suppress(OSError):
                # Whoever has put something else there meanwhile keeps it.
                if _identity(os.lstat(name)) == identity:
                    os.unlink(name)
        super().close()


def bind_unix(address: str) -> UnixSocket:
    """The socket of an address for which `is_unix` holds. Raises ListenError."""
    name = socket_name(address)
    try:
        try:
            return UnixSocket(name)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        if name.startswith("\0"):
            raise ListenError(f"cannot listen at {address}: the name is in use by another process")
        _remove_stale(address, name)
        return UnixSocket(name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ListenError(f"cannot listen at {address}: {reason}") from error


def _remove_stale(address: str, path: str) -> None:
    """Removes the file of a socket that nobody has any more; ListenError for any other file."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenError(
            f"cannot listen at {address}: {path} exists and is not a socket; it was left as it is"
        )
    if _answers(path) or _is_bound(path):
        raise ListenError(f"cannot listen at {address}: the socket is in use by another process")
    if _identity(os.lstat(path)) == _identity(found):
        os.unlink(path)


def _answers(path: str) -> bool:
    """Whether somebody listens there. OSError when we may not ask."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:
            # A full backlog, and a socket of another type, are somebody's too.
            if error.errno not in (errno.EAGAIN, errno.EPROTOTYPE):
                raise
        return True


def _is_bound(path: str) -> bool:
    """Whether a process has the socket without listening: a server that still loads its models."""
    try:
        table = Path("/proc/net/unix").read_bytes()
    except OSError:
        return False
    return any(line.endswith(b" " + os.fsencode(path)) for line in table.splitlines())


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino
