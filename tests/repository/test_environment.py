"""Unpacking and keeping of environments: nothing leads out, nothing half-made stays."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pyserver.errors import InvalidArgumentError
from pyserver.repository.environment_archive import unpack
from pyserver.repository.environment_cache import cache_folder, file_digest, kept

Member = tuple[str, bytes, str]  # name, tar's type, contents or where a link leads


def archive(path: Path, *members: Member) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, kind, text in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.mode = 0o755 if name.startswith("bin/") else 0o600
            if kind == tarfile.REGTYPE:
                member.size = len(text)
                file.addfile(member, io.BytesIO(text.encode()))
            else:
                member.linkname = text
                file.addfile(member)
    return path


FILE, FOLDER, SYMLINK, HARDLINK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def test_files_links_and_modes(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "env.tar.gz",
        ("./bin", FOLDER, ""),
        ("./bin/python3.11", FILE, "the interpreter"),
        ("bin/python", SYMLINK, "python3.11"),
        ("lib/a/b", FILE, "b"),
        ("lib/c", HARDLINK, "lib/a/b"),
        ("lib/up", SYMLINK, "../bin"),
        ("lib/up/tool", FILE, "through a link that stays inside"),
        ("bin/late", SYMLINK, "../lib/comes/later"),
    )
    folder = tmp_path / "out"
    folder.mkdir()
    unpack(path, folder)
    assert (folder / "bin" / "python").read_text() == "the interpreter"
    assert (folder / "lib" / "c").read_text() == "b"
    assert (folder / "bin" / "tool").exists()
    assert not os.access(folder / "lib" / "c", os.X_OK)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([("/etc/x", FILE, "")], "member '/etc/x' leads out of it"),
        ([("../x", FILE, "")], "member '../x' leads out of it"),
        ([("a/../../x", FILE, "")], "leads out of it"),
        ([("a", SYMLINK, "/etc")], "link 'a' leads out of it"),
        ([("a", SYMLINK, "..")], "link 'a' leads out of it"),
        ([("d/a", SYMLINK, "../../x")], "link 'd/a' leads out of it"),
        ([("a", HARDLINK, "/etc/passwd")], "leads out of it"),
        ([("a", HARDLINK, "../x")], "leads out of it"),
        (
            # Each is fine when it comes; together they lead out.
            [("p/q", SYMLINK, "r/../../s"), ("a", FOLDER, ""), ("p/r", SYMLINK, "../a")],
            "link 'p/q' leads out of it",
        ),
        (
            [
                ("p/q", SYMLINK, "r/../../s"),
                ("a", FOLDER, ""),
                ("p/r", SYMLINK, "../a"),
                ("p/q/x", FILE, "evil"),
            ],
            "member 'p/q/x' leads out of it",
        ),
        ([("d", FOLDER, ""), ("a", SYMLINK, "d"), ("a", FOLDER, "")], "takes the place of a link"),
        ([("a", SYMLINK, "b"), ("b", SYMLINK, "a")], "Symlink loop"),
        ([("dev", tarfile.CHRTYPE, "")], "is neither a file, a folder nor a link"),
        ([("pipe", tarfile.FIFOTYPE, "")], "is neither a file, a folder nor a link"),
        ([("block", tarfile.BLKTYPE, "")], "is neither a file, a folder nor a link"),
        ([("holes", tarfile.GNUTYPE_SPARSE, "")], "has holes"),
        ([("a\nb", FILE, "")], "leads out of it: it has a control character in it"),
        ([("", FILE, "")], "member '' leads out of it"),
        ([("a/" * 150 + "b", FILE, "")], "leads out of it: it has more than 100 parts"),
        ([("a", SYMLINK, "/tmp"), ("a/x", FILE, "evil")], "link 'a' leads out of it"),
        ([("a", SYMLINK, "."), ("b", HARDLINK, "a/../../x")], "leads out of it"),
        ([("d/a", SYMLINK, ".."), ("d/a/../../x", FILE, "evil")], "climbs by '..'"),
        ([(f"f{i}", FILE, "") for i in range(40)], "it has more than 30 members"),
        ([("big", FILE, "x" * 5000)], "it is too large when unpacked"),
        ([(f"f{i}", FILE, "x" * 600) for i in range(3)], "it is too large when unpacked"),
    ],
)
def test_what_is_refused(tmp_path: Path, members: list[Member], why: str) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    folder = tmp_path / "in" / "deep" / "out"
    folder.mkdir()
    with pytest.raises(InvalidArgumentError) as refused:
        unpack(archive(tmp_path / "env.tar.gz", *members), folder, max_bytes=1000, max_members=30)
    assert why in str(refused.value)
    assert [one.name for one in (tmp_path / "in").rglob("*") if "out" not in str(one)] == ["deep"]


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b cut"])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "env.tar.gz").write_bytes(content)
    with pytest.raises(InvalidArgumentError, match="cannot be unpacked"):
        unpack(tmp_path / "env.tar.gz", tmp_path)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYSERVER_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_made_once_however_many_ask(cache: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "x").write_text("x")

    asking = [threading.Thread(target=kept, args=("kind", "d", make)) for _ in range(4)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert made == [cache / "kind" / "d"] and (made[0] / "x").exists()
    assert cache_folder() == cache


def test_what_could_not_be_made_is_tried_again() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        kept("kind", "d", fail)
    done: Callable[[Path], None] = lambda folder: None  # noqa: E731
    assert list(kept("kind", "d", done).iterdir()) == []


def test_digests_are_those_of_the_content(tmp_path: Path) -> None:
    for name, text in {"a": "1", "b": "1", "c": "2"}.items():
        (tmp_path / name).write_text(text)
    one, same, other = (file_digest(tmp_path / name) for name in "abc")
    assert one == same != other and len(one) == 64
