"""Names from outside, opened by the kernel's openat2 and by the walk for kernels without it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from pyserver import beneath
from pyserver.beneath import (
    PRIVATE,
    LeadsOut,
    Links,
    Refused,
    create_beneath,
    open_beneath,
    path_beneath,
    read_beneath,
    walk,
    write_beneath,
)

Open = Callable[[Path, str, int, Links], int]


def by_kernel(folder: Path, name: str, flags: int, links: Links) -> int:
    return open_beneath(folder, name, flags, links=links)


def by_walk(folder: Path, name: str, flags: int, links: Links) -> int:
    why = beneath.fault_in(name)
    if why is not None:
        raise LeadsOut(why)
    root = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        return walk(root, name, flags, links, 0)
    finally:
        os.close(root)


WAYS = pytest.mark.parametrize("way", [by_kernel, by_walk])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder of which some links lead out."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "root"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "file").write_text("file")
    (folder / "a" / "b" / "deep").write_text("deep")
    links = {
        "to_file": "file",
        "to_folder": "a/b",
        "a/up": "../file",
        "a/b/way_round": "../../a/../a/b/deep",
        "chain": "to_folder",
        "itself": "itself",
        "dangling": "nothing",
        "out": "../secret",
        "far_out": "/etc/hostname",
        "absolute": str(folder / "file"),
        "out_folder": "..",
        "a/back": "../../root/file",
        "circle": "a/circle",
        "a/circle": "../circle",
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    return folder


@WAYS
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("file", "file"),
        ("./file", "file"),
        ("a//b/deep", "deep"),
        ("to_file", "file"),
        ("to_folder/deep", "deep"),
        ("a/up", "file"),
        ("a/b/way_round", "deep"),
        ("chain/way_round", "deep"),
    ],
)
def test_what_stays_inside_is_opened(tree: Path, way: Open, name: str, content: str) -> None:
    with open(way(tree, name, os.O_RDONLY, Links.INSIDE)) as file:
        assert file.read() == content


@WAYS
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is empty"),
        (".", "names no file"),
        ("./", "names no file"),
        ("..", r"climbs by '\.\.'"),
        ("a/../file", r"climbs by '\.\.'"),
        ("/etc/hostname", "is absolute"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\x7fb", "control character"),
        ("a\udc80", "not valid UTF-8"),
        ("out", "leads out"),
        ("far_out", "leads out"),
        ("absolute", "leads out"),
        ("out_folder/secret", "leads out"),
        ("a/back", "leads out"),
    ],
)
def test_what_leads_out_is_not_opened(tree: Path, way: Open, name: str, why: str) -> None:
    with pytest.raises(LeadsOut, match=why):
        os.close(way(tree, name, os.O_RDONLY, Links.INSIDE))


@WAYS
@pytest.mark.parametrize("name", ["itself", "circle", "dangling", "none", "file/x"])
def test_what_is_not_there_is_an_error_of_the_system(tree: Path, way: Open, name: str) -> None:
    with pytest.raises(OSError):
        os.close(way(tree, name, os.O_RDONLY, Links.INSIDE))


@WAYS
@pytest.mark.parametrize("name", ["to_file", "to_folder/deep", "a/up", "out", "chain/deep"])
def test_without_links_none_is_followed(tree: Path, way: Open, name: str) -> None:
    with pytest.raises(LeadsOut, match="through a link"):
        os.close(way(tree, name, os.O_RDONLY, Links.NONE))


def test_only_regular_files_of_a_bounded_size_are_read(tree: Path) -> None:
    assert read_beneath(tree, "file") == b"file"
    with pytest.raises(Refused, match="not a regular file"):
        read_beneath(tree, "pipe")
    with pytest.raises(IsADirectoryError):
        read_beneath(tree, "a")
    with pytest.raises(Refused, match="has 4 bytes, more than the 3"):
        read_beneath(tree, "file", most_bytes=3)


def test_writing_makes_folders_and_follows_no_link(tree: Path) -> None:
    write_beneath(tree, "new/deep/file", b"new")
    assert (tree / "new" / "deep" / "file").read_bytes() == b"new"
    for name in ("out", "out_folder/x", "to_folder/x", "file", "file/x"):
        with pytest.raises(OSError):
            os.close(create_beneath(tree, name))
    with pytest.raises(LeadsOut):
        write_beneath(tree, "a/../../x", b"")
    assert (tree.parent / "secret").read_text() == "secret"
    assert sorted(path.name for path in tree.parent.iterdir()) == ["root", "secret"]


def test_the_owner_may_link_weights_to_anywhere_and_nobody_else_may(tree: Path) -> None:
    assert path_beneath(tree, "out").read_text() == "secret"
    with pytest.raises(LeadsOut):
        path_beneath(tree, "../secret")
    private = tree.parent / f"{PRIVATE}x" / "model"
    private.mkdir(parents=True)
    (private / "out").symlink_to(tree.parent / "secret")
    (private / "file").write_text("file")
    assert path_beneath(private, "file") == private / "file"
    assert path_beneath(private, "not_there") == private / "not_there"
    for use in (path_beneath, read_beneath):
        with pytest.raises(LeadsOut, match="through a link"):
            use(private, "out")


def test_the_walk_and_the_kernel_agree_on_random_trees(tmp_path: Path) -> None:
    random = Random(7)
    names = ("a", "b", "c", "..", ".", "a/b", "b/../c", "../a", "/a", "../../root0/a")

    def outcome(way: Open, root: Path, name: str, links: Links) -> object:
        try:
            opened = way(root, name, os.O_PATH, links)
        except (LeadsOut, OSError) as error:
            return str(error) if isinstance(error, LeadsOut) else error.errno
        try:
            return os.readlink(f"/proc/self/fd/{opened}")
        finally:
            os.close(opened)

    outcomes = set()
    for number in range(60):
        root = tmp_path / f"root{number}"
        folders = [root, root / "a", root / "a" / "b", root / "c"]
        for folder in folders:
            folder.mkdir(exist_ok=True)
            for name in ("a", "b", "c", "d"):
                path = folder / name
                if path.is_symlink() or path.exists() or path in folders:
                    continue
                if random.random() < 0.6:
                    path.symlink_to(random.choice(names))
                else:
                    path.touch()
        for _ in range(60):
            parts = [random.choice(("a", "b", "c", "d", "..")) for _ in range(4)]
            name = "/".join(parts[: random.randint(1, 4)])
            for links in Links:
                kernel = outcome(by_kernel, root, name, links)
                assert outcome(by_walk, root, name, links) == kernel, (root, name, links)
                outcomes.add(str(kernel).replace(str(tmp_path), ""))
    assert len(outcomes) > 10
