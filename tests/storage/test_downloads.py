"""From object storage to a model's folder: what is fetched, what is kept, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyserver.repository.download import Downloaded, Downloads
from pyserver.repository.load_folders import LoadFolders
from pyserver.repository.object_cache import ObjectCache
from pyserver.repository.storage import StorageError, with_retries
from tests.storage.memory import CONFIG, MemoryStorage


def every_version(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if path.name.isdigit()]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PYSERVER_CACHE_DIR", str(folder))
    yield folder
    assert list(folder.glob("loads/*")) == [], "a load has left something"


def get(downloads: Downloads, storage: MemoryStorage, model: str = "m") -> Downloaded:
    return downloads.get(storage, model, every_version)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def objects(cache: Path) -> list[Path]:
    return [path for path in cache.glob("objects/*/*") if path.is_file()]


def test_all_files_come_and_go_with_the_load(cache: Path) -> None:
    held = {"config.pbtxt": CONFIG, "1/model.py": b"one", "1/deep/er/x": b"x", "labels.txt": b""}
    storage = MemoryStorage(m=held)
    downloads = Downloads()
    made = get(downloads, storage)
    assert made.folder.name == "m"
    assert contents(made.folder) == held
    assert storage.listed == 2  # once more at the end, whether it is still the same
    downloads.remove(made)
    assert not made.folder.exists()


def test_a_reload_fetches_only_what_changed(cache: Path) -> None:
    storage = MemoryStorage(m={"config.pbtxt": CONFIG, "1/a": b"a", "1/b": b"b"})
    downloads = Downloads()
    first = get(downloads, storage)
    assert storage.taken() == ["1/a", "1/b", "config.pbtxt"]
    storage.held["m"]["1/b"] = b"B"
    storage.held["m"]["1/c"] = b"c"
    second = get(downloads, storage)
    assert storage.taken() == ["1/b", "1/c"]
    assert contents(first.folder)["1/b"] == b"b", "what a load has is its own"
    assert contents(second.folder)["1/b"] == b"B"
    assert first.listing.stamp() != second.listing.stamp()
    storage.listed = 0
    third = get(downloads, storage)
    assert (storage.taken(), storage.listed) == ([], 1)
    assert third.listing.stamp() == second.listing.stamp()
    for made in (first, second, third):
        downloads.remove(made)


def test_only_the_versions_that_are_served_are_fetched() -> None:
    storage = MemoryStorage(
        m={"config.pbtxt": CONFIG, "1/x": b"1", "2/x": b"2", "3/x": b"3", "9/": b"", "notes/x": b""}
    )
    downloads = Downloads()
    seen: list[int] = []

    def choose(folder: Path) -> list[int]:
        assert (folder / "config.pbtxt").read_bytes() == CONFIG
        seen.extend(sorted(every_version(folder)))
        return [2, 9]

    made = downloads.get(storage, "m", choose)
    assert seen == [1, 2, 3, 9]
    assert storage.taken() == ["2/x", "config.pbtxt", "notes/x"]
    assert sorted(path.name for path in made.folder.iterdir()) == [
        *("2", "9", "config.pbtxt", "notes")
    ]
    downloads.remove(made)


def test_a_broken_download_leaves_nothing_and_says_why() -> None:
    storage = MemoryStorage(m={"config.pbtxt": CONFIG, **{f"1/{n}": b"x" * n for n in range(30)}})

    def fail(name: str) -> None:
        if name == "1/17":
            raise StorageError("failed to download 's3://bucket/repository/m/1/17': no more power")

    storage.before_fetch = fail
    with pytest.raises(StorageError, match=r"repository/m/1/17': no more power"):
        get(Downloads(), storage)


def test_a_model_that_changes_meanwhile_is_fetched_anew_and_never_mixed() -> None:
    storage = MemoryStorage(m={"config.pbtxt": CONFIG, "1/a": b"old", "1/b": b"old"})
    downloads = Downloads()

    def change(name: str) -> None:
        if name == "1/b":
            storage.held["m"] |= {"1/a": b"new", "1/b": b"new"}

    storage.before_fetch = change
    made = get(downloads, storage)
    assert contents(made.folder) == {"config.pbtxt": CONFIG, "1/a": b"new", "1/b": b"new"}
    downloads.remove(made)
    storage.taken()
    storage.held["m"] |= {"1/a": b"old", "1/b": b"old"}
    storage.before_fetch = lambda name: None
    again = get(downloads, storage)
    assert contents(again.folder)["1/b"] == b"old", "nothing was kept under a tag not its own"
    downloads.remove(again)


def test_a_model_that_changes_all_the_time_is_not_loaded() -> None:
    storage = MemoryStorage(m={"config.pbtxt": CONFIG, "1/a": b"0"})

    def change(name: str) -> None:
        storage.held["m"]["1/a"] += b"0"

    storage.before_fetch = change
    with pytest.raises(StorageError, match=r"'s3://bucket/repository/m' changes all the time"):
        get(Downloads(), storage)


def test_what_has_no_tag_is_fetched_each_time() -> None:
    storage = MemoryStorage(m={"config.pbtxt": CONFIG, "1/a": b"a"})
    storage.tagless = True
    downloads = Downloads()
    for _ in range(2):
        downloads.remove(get(downloads, storage))
        assert storage.taken() == ["1/a", "config.pbtxt"]


def test_a_kept_file_that_was_written_to_is_known_and_dropped(cache: Path) -> None:
    storage = MemoryStorage(m={"1/a": b"abc"})
    downloads = Downloads()
    made = get(downloads, storage)
    weights = made.folder / "1" / "a"
    weights.chmod(0o600)
    weights.write_bytes(b"bad")
    downloads.remove(made)
    again = get(downloads, storage)
    assert contents(again.folder) == {"1/a": b"abc"}
    assert storage.taken() == ["1/a", "1/a"]
    downloads.remove(again)


def test_the_least_recently_used_go_when_there_is_too_much(cache: Path) -> None:
    storage = MemoryStorage(**{name: {"1/x": name.encode() * 100} for name in "abc"})
    downloads = Downloads(ObjectCache(cache / "objects", most_bytes=250))
    for name in ("a", "b", "a", "c"):
        downloads.remove(get(downloads, storage, name))
    assert sorted(path.read_bytes()[:1] for path in objects(cache)) == [b"a", b"c"]
    tiny = Downloads(ObjectCache(cache / "objects", most_bytes=0))
    made = get(tiny, storage, "b")  # it is loaded all the same
    assert contents(made.folder) == {"1/x": b"b" * 100}
    assert objects(cache) == []
    tiny.remove(made)


def test_a_cache_that_cannot_be_written_is_no_reason_not_to_load(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir()
    (cache / "objects").write_text("in the way")
    downloads = Downloads()
    made = get(downloads, MemoryStorage(m={"1/x": b"x"}))
    assert contents(made.folder) == {"1/x": b"x"}
    assert "cannot be kept" in caplog.text
    downloads.remove(made)


def test_copies_lie_where_triton_s_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_AWS_MOUNT_DIRECTORY", str(tmp_path / "mount"))
    downloads = Downloads()
    made = get(downloads, MemoryStorage(m={"1/x": b"x"}))
    assert made.folder.is_relative_to(tmp_path / "mount")
    downloads.remove(made)
    assert list((tmp_path / "mount").iterdir()) == []


def test_a_disk_that_is_full_is_told_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = MemoryStorage(m={"1/x": b"x"})
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 0}))
    with pytest.raises(StorageError, match=r"needs 1 bytes in .*, where 0 are free"):
        get(Downloads(), storage)
    assert storage.taken() == []


def test_what_a_killed_server_left_is_removed_and_what_a_living_one_has_is_not(
    tmp_path: Path,
) -> None:
    left = tmp_path / "pyserver-private-loads-left" / "1" / "m"
    left.mkdir(parents=True)
    (left / "x").write_text("x")
    living, next_one = LoadFolders(), LoadFolders()
    mine = living.make(tmp_path)
    theirs = next_one.make(tmp_path)
    assert not left.exists()
    assert mine.is_dir() and theirs.is_dir()
    living.remove(mine)
    next_one.remove(theirs)
    assert list(tmp_path.glob("pyserver-*")) == []


KEYS = {
    "../evil": "climbs by '..'",
    "1/../../evil": "climbs by '..'",
    "..": "climbs by '..'",
    "/etc/passwd": "is absolute",
    "1//model.py": "has an empty part",
    "1/./model.py": "has a '.' part",
    "1\\..\\evil": "has a backslash in it",
    "1/a\nb": "has a control character in it",
    "1/a\0b": "has a control character in it",
    "1/\x1b[2J": "has a control character in it",
    "1/\udcff": "is not valid UTF-8",
    "1/model.py/x": "which would have to be a folder",
    "../": "climbs by '..'",
}


@pytest.mark.parametrize("key", KEYS)
def test_keys_that_are_no_names_of_files_are_refused(tmp_path: Path, key: str) -> None:
    storage = MemoryStorage(m={"config.pbtxt": CONFIG, "1/model.py": b"good", key: b"evil"})
    with pytest.raises(StorageError, match="'s3://bucket/repository/m' holds an object") as refused:
        get(Downloads(), storage)
    assert KEYS[key] in str(refused.value)
    assert storage.taken() == []


def test_too_many_objects_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyserver.repository.storage.MAX_FILES", 5)
    with pytest.raises(StorageError, match="holds more than 5 objects"):
        get(Downloads(), MemoryStorage(m={f"1/{n}": b"" for n in range(6)}))


def test_attempts_and_pauses_are_bounded() -> None:
    pauses: list[float] = []
    attempts: list[int] = []

    def call() -> str:
        attempts.append(len(attempts))
        raise TimeoutError("too\nslow")

    with pytest.raises(StorageError, match=r"^failed to list 'x': TimeoutError: too slow$"):
        with_retries("list 'x'", call, sleep=pauses.append)
    assert len(attempts) == 4
    assert len(pauses) == 3 and pauses == sorted(pauses) and sum(pauses) < 3
    began_s = time.monotonic()
    with pytest.raises(StorageError, match="FileNotFoundError"):
        with_retries("list 'x'", lambda: Path("/nowhere").read_text())
    assert time.monotonic() - began_s < 0.2, "what is hopeless is not tried again"
    assert with_retries("list 'x'", lambda: "x") == "x"
