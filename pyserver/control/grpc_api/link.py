"""A Unix-domain listener without a name, for a library that can listen at names only.

grpcio cannot adopt a descriptor. So it binds a name in a folder that only we may enter, we open the
socket's inode, and the name goes away at once. What is left is the descriptor: whoever holds it, or
was sent it by SCM_RIGHTS, connects to `/proc/self/fd/<number>` as often as it likes, and nobody
else can. A name in the abstract namespace would be there for every process of the machine to read
in /proc/net/unix, and grpcio does not let us ask who has connected.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_PREFIX: Final = "pyserver-grpc-"
# The folder is needed for milliseconds: an older one is that of a process that was killed just
# then.
_ABANDONED_AFTER_S: Final = 60.0


def listen_without_name(listen: Callable[[str], object]) -> int:
    """Has `listen` listen at an address in gRPC's notation (`unix:<path>`); returns an O_PATH
    descriptor to connect to. What `listen` raises is passed on.
    """
    parent = _parent_folder()
    remove_abandoned(parent)
    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
    # grpcio removes the path again when it stops; by then the number may belong to another folder.
    name = secrets.token_hex(16)
    folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # By way of the descriptor the path is short enough for a socket, however long TMPDIR is.
        listen(f"unix:/proc/self/fd/{folder_fd}/{name}")
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder_fd)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder_fd)
        os.close(folder_fd)
        os.rmdir(folder)


def remove_abandoned(parent: Path, *, older_than_s: float = _ABANDONED_AFTER_S) -> None:
    """Removes the folders of ours that a `kill -9` between two lines of the above has left."""
    with os.scandir(parent) as entries:
        found = [one for one in entries if one.name.startswith(_PREFIX)]
    for entry in found:
        with contextlib.suppress(OSError):
            facts = entry.stat(follow_symlinks=False)
            is_ours = facts.st_uid == os.geteuid() and entry.is_dir(follow_symlinks=False)
            if is_ours and time.time() - facts.st_mtime > older_than_s:
                shutil.rmtree(entry.path)


def _parent_folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.access(runtime, os.W_OK | os.X_OK):
        return Path(runtime)
    return Path(tempfile.gettempdir())
