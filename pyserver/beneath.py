"""Opening what a name from outside means, and never anything outside of the folder it counts from.

Every name that comes from a client, a config's text, an archive or an object store goes through
here before it becomes a path. The kernel keeps it inside (openat2 with RESOLVE_BENEATH); where it
cannot, we walk there component by component.

Whose links are followed:

    a local repository's folders and weights    its owner's links, wherever they lead
    what only a config's text names there       links that stay in the folder
    folders that we made of what was sent to    none: whoever sent it is not the owner
    us (uploaded files, downloaded objects)

The folders of the last kind are known by their names (PRIVATE), in every process.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Final

# How the folders begin that we made of what came from outside.
PRIVATE: Final = "pyserver-private-"
# Far more than a file has that is read whole: labels, a warm-up sample, an initial state, a config.
MAX_READ_BYTES: Final = 4 << 30
# Deeper trees have paths that nothing can open, and are hard to remove.
MAX_DEPTH: Final = 100

_SYS_OPENAT2: Final = 437  # on every architecture
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
_MOST_LINKS: Final = 40  # the kernel's own bound
_ATTEMPTS: Final = 16  # openat2 gives up when something is renamed meanwhile


class Refused(ValueError):
    """The name means nothing that may be opened; the text says why, without the name."""


class LeadsOut(Refused):
    """It would leave the folder."""


class Links(Enum):
    """Which symbolic links are followed."""

    INSIDE = "those that stay inside"
    NONE = "none"


def fault_in(name: str) -> str | None:
    """What is wrong with a relative name by its text alone; None: nothing."""
    if not name:
        return "is empty"
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in name):
        return "has a control character in it"
    if name.startswith("/"):
        return "is absolute"
    parts = name.split("/")
    if ".." in parts:
        return "climbs by '..'"
    if not any(part not in ("", ".") for part in parts):
        return "names no file"
    if len(parts) > MAX_DEPTH:
        return f"has more than {MAX_DEPTH} parts"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    return None


def is_private(folder: Path) -> bool:
    """Whether the folder is made of what came from outside."""
    return any(part.startswith(PRIVATE) for part in folder.parts)


def path_beneath(folder: Path, name: str) -> Path:
    """For what a library opens by its path: weights, a module. LeadsOut for a name that leads out;
    the owner of a local repository may have made it a link to anywhere.
    """
    why = fault_in(name)
    if why is not None:
        raise LeadsOut(why)
    if is_private(folder):
        try:
            os.close(open_beneath(folder, name, os.O_PATH, links=Links.NONE))
        except OSError:
            pass  # whoever opens it says so
    return folder / name


def read_beneath(folder: Path, name: str, *, most_bytes: int = MAX_READ_BYTES) -> bytes:
    """The contents of a regular file. Raises LeadsOut, Refused (no regular file, too large) and
    OSError.
    """
    links = Links.NONE if is_private(folder) else Links.INSIDE
    # A pipe would keep whoever opens it waiting.
    opened = open_beneath(folder, name, os.O_RDONLY | os.O_NONBLOCK, links=links)
    with open(opened, "rb") as file:
        status = os.fstat(opened)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("is not a regular file")
        if status.st_size > most_bytes:
            raise Refused(f"has {status.st_size} bytes, more than the {most_bytes} that may be")
        return file.read(most_bytes)


def write_beneath(folder: Path, name: str, content: bytes) -> None:
    """A new file, and the folders that it lies in. Raises LeadsOut and OSError."""
    with open(create_beneath(folder, name), "wb") as file:
        file.write(content)


def create_beneath(folder: Path, name: str, mode: int = 0o644) -> int:
    """A descriptor of a new, empty file; makes the folders that it lies in. No link is followed."""
    why = fault_in(name)
    if why is not None:
        raise LeadsOut(why)
    *parents, last = [part for part in name.split("/") if part not in ("", ".")]
    at = make_folder_beneath(folder, "/".join(parents))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(last, flags, mode, dir_fd=at)
    finally:
        os.close(at)


def make_folder_beneath(folder: Path, name: str) -> int:
    """A descriptor of the folder of that name ("": the folder itself), made as far as it is not
    there. No link is followed.
    """
    why = fault_in(name) if name else None
    if why is not None:
        raise LeadsOut(why)
    at = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in name.split("/"):
        if part in ("", "."):
            continue
        try:
            try:
                os.mkdir(part, 0o755, dir_fd=at)
            except FileExistsError:
                pass
            flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            deeper = os.open(part, flags, dir_fd=at)
        finally:
            os.close(at)
        at = deeper
    return at


def open_beneath(
    folder: Path, name: str, flags: int, *, links: Links = Links.INSIDE, mode: int = 0
) -> int:
    """A descriptor. Raises LeadsOut for a name or a link that leads out, OSError for all else."""
    why = fault_in(name)
    if why is not None:
        raise LeadsOut(why)
    root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kernel = _kernel()
        if kernel.has_openat2:
            return kernel.openat2(root, name, flags, links, mode)
        return walk(root, name, flags, links, mode)
    finally:
        os.close(root)


class _Kernel:
    """openat2, which Python has no function for."""

    def __init__(self) -> None:
        import ctypes  # which small processes do without

        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._errno = ctypes.get_errno
        self.has_openat2 = True
        try:
            root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.close(self.openat2(root, ".", os.O_PATH, Links.NONE, 0))
            finally:
                os.close(root)
        except OSError:  # an old kernel, or a sandbox that does not know the call
            self.has_openat2 = False

    def openat2(self, root: int, name: str, flags: int, links: Links, mode: int) -> int:
        resolve = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS
        if links is Links.NONE:
            resolve |= _RESOLVE_NO_SYMLINKS
        how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)  # struct open_how
        code = errno.EAGAIN
        for _ in range(_ATTEMPTS):
            opened: int = self._syscall(_SYS_OPENAT2, root, os.fsencode(name), how, len(how))
            if opened >= 0:
                return opened
            code = self._errno()
            if code not in (errno.EAGAIN, errno.EINTR):
                break
        if code == errno.EXDEV:
            raise LeadsOut("is a link that leads out")
        if code == errno.ELOOP and links is Links.NONE:
            raise LeadsOut("goes through a link")
        raise OSError(code, os.strerror(code), name)


@cache
def _kernel() -> _Kernel:
    return _Kernel()


def walk(root: int, name: str, flags: int, links: Links, mode: int) -> int:
    """The same as openat2, for kernels without it. Does not close `root`."""
    left = [part for part in reversed(name.split("/")) if part not in ("", ".")]
    folders = [os.dup(root)]
    followed = 0
    try:
        while True:
            part = left.pop() if left else "."
            if part == "..":
                if len(folders) == 1:
                    raise LeadsOut("is a link that leads out")
                os.close(folders.pop())
                continue
            target = _link_target(part, folders[-1])
            if target is None:
                if not left:
                    wanted = flags | os.O_NOFOLLOW | os.O_CLOEXEC
                    return os.open(part, wanted, mode, dir_fd=folders[-1])
                deeper = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                folders.append(os.open(part, deeper, dir_fd=folders[-1]))
                continue
            followed += 1
            if links is Links.NONE:
                raise LeadsOut("goes through a link")
            if target.startswith("/"):
                raise LeadsOut("is a link that leads out")
            if followed > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
            left += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    finally:
        for folder in folders:
            os.close(folder)


def _link_target(part: str, folder: int) -> str | None:
    try:
        return os.readlink(part, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):  # no link; or nothing yet
            return None
        raise
