"""Unpacking a Python environment that came as a tar archive (conda-pack's, for one).

The archive is not trusted to stay in its folder: absolute names, names and links that lead out,
devices, files with holes, and more bytes or files than an environment has are refused before
anything is written there.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import Final

from pyserver.beneath import fault_in, open_beneath
from pyserver.errors import InvalidArgumentError

MAX_BYTES: Final = 64 << 30
MAX_MEMBERS: Final = 2_000_000
_COPY_BYTES: Final = 1 << 20


def unpack(
    archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS
) -> None:
    """Unpacks into the folder, which exists and is empty. Raises InvalidArgumentError, and may
    leave a part of it then.
    """
    root = folder.resolve()
    left = max_bytes
    links: list[Path] = []
    try:
        with tarfile.open(archive) as members:
            for count, member in enumerate(members):
                if count >= max_members:
                    raise _refusal(archive, f"it has more than {max_members} members")
                left -= _unpack_member(archive, members, member, root, left)
                if member.issym():
                    links.append(root / member.name)
        for link in links:  # once more: a later link may have changed where an earlier one leads
            if not link.resolve().is_relative_to(root):
                raise _refusal(archive, f"link '{link.relative_to(root)}' leads out of it")
    except (tarfile.TarError, EOFError, OSError, ValueError, RuntimeError) as error:
        # RuntimeError: links in a circle.
        raise _refusal(archive, str(error) or type(error).__name__) from error


def _unpack_member(
    archive: Path, members: tarfile.TarFile, member: tarfile.TarInfo, root: Path, left: int
) -> int:
    """The bytes that it took."""
    target = root / _inside(archive, member.name)
    if target == root and member.isdir():
        return 0
    # Where a link that was unpacked before leads to.
    if not target.parent.resolve().is_relative_to(root):
        raise _refusal(archive, f"member '{member.name}' leads out of it")
    if member.isdir():
        if target.is_symlink():
            raise _refusal(archive, f"member '{member.name}' takes the place of a link")
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.is_file():
        target.unlink()
    if member.issym():
        _check_link(archive, member, target.parent / member.linkname, root)
        target.symlink_to(member.linkname)
        return 0
    if member.islnk():
        source = root / _inside(archive, member.linkname)
        _check_link(archive, member, source, root)
        os.link(source, target, follow_symlinks=False)
        return 0
    if member.issparse():  # a few bytes would become any number of them
        raise _refusal(archive, f"member '{member.name}' has holes")
    if not member.isfile():
        raise _refusal(archive, f"member '{member.name}' is neither a file, a folder nor a link")
    if member.size > left:
        raise _refusal(archive, f"it is too large when unpacked, from member '{member.name}' on")
    return _unpack_file(archive, members, member, root, left)


def _unpack_file(
    archive: Path, members: tarfile.TarFile, member: tarfile.TarInfo, root: Path, left: int
) -> int:
    source = members.extractfile(member)
    assert source is not None
    written = 0
    mode = 0o755 if member.mode & 0o111 else 0o644
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with open(open_beneath(root, member.name, flags, mode=mode), "wb") as file:
        while data := source.read(_COPY_BYTES):
            written += len(data)
            if written > left:
                raise _refusal(archive, "it is too large when unpacked")
            file.write(data)
    return written


def _inside(archive: Path, name: str) -> PurePosixPath:
    why = fault_in(name)
    if why is not None and PurePosixPath(name) != PurePosixPath():  # "./", the folder itself
        raise _refusal(archive, f"member '{name}' leads out of it: it {why}")
    return PurePosixPath(name)


def _check_link(archive: Path, member: tarfile.TarInfo, source: Path, root: Path) -> None:
    away = PurePosixPath(member.linkname).is_absolute()
    if away or not source.resolve().is_relative_to(root):
        raise _refusal(archive, f"link '{member.name}' leads out of it")


def _refusal(archive: Path, why: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"the Python environment '{archive}' cannot be unpacked: {why}")
