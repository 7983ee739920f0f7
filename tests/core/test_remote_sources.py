"""Models on object storage, from their names to their folders and configs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyserver.core.model_source import ModelSources, NoVersion, PollFailed
from pyserver.errors import InvalidArgumentError
from pyserver.repository.override import LoadOverride
from pyserver.repository.storage import StorageError
from pyserver.settings import Settings
from tests.storage.memory import CONFIG, MemoryStorage


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryStorage]:
    monkeypatch.setenv("PYSERVER_CACHE_DIR", str(tmp_path / "cache"))
    yield MemoryStorage(
        m={"config.pbtxt": CONFIG, "1/x": b"one", "2/x": b"two", "10/x": b"ten"},
        bad={"config.pbtxt": b"nonsense {", "1/x": b""},
        empty={"config.pbtxt": CONFIG},
        agent={
            "config.pbtxt": CONFIG
            + b'model_repository_agents { agents [ { name: "checksum"'
            + b' parameters { key: "MD5:1/x" value: "0" } } ] }',
            "1/x": b"x",
        },
    )
    assert list((tmp_path / "cache").glob("loads/*")) == []


def sources(storage: MemoryStorage, *local: Path) -> ModelSources:
    settings = Settings(model_repository=("s3://bucket/repository", *map(str, local)))
    return ModelSources(settings, 0, lambda text: storage if text.startswith("s3") else Path(text))


def test_only_the_versions_of_the_policy_are_there(storage: MemoryStorage) -> None:
    made = sources(storage).open("m")
    assert made.config.versions == (10,)
    assert storage.taken() == ["10/x", "config.pbtxt"]
    assert (made.folder / "10" / "x").read_bytes() == b"ten"
    made.discard()
    policy = "version_policy { specific { versions: [ 1, 2 ] } }"
    storage.held["m"]["config.pbtxt"] = CONFIG + policy.encode()
    again = sources(storage).open("m")
    assert again.config.versions == (1, 2)
    assert storage.taken() == ["1/x", "2/x", "config.pbtxt"]
    again.discard()


def test_a_config_of_the_load_decides_on_the_versions_too(storage: MemoryStorage) -> None:
    tensors = {
        kind: [{"name": f"{kind.upper()}0", "data_type": "TYPE_FP32", "dims": [1]}]
        for kind in ("input", "output")
    }
    config = json.dumps({"backend": "identity", "version_policy": {"all": {}}, **tensors})
    plain, own = sources(storage).open("m"), sources(storage).open("m", LoadOverride(config))
    assert own.config.versions == (1, 2, 10)
    assert own.stamp != plain.stamp
    for one in (plain, own):
        one.discard()
    with pytest.raises(InvalidArgumentError, match=r"^Invalid config override: "):
        sources(storage).open("m", LoadOverride("{"))


def test_stamps_are_equal_until_something_changes_and_cost_no_download(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    made = sources(storage, tmp_path)
    (tmp_path / "local" / "1").mkdir(parents=True)
    (tmp_path / "local" / "config.pbtxt").write_bytes(CONFIG)
    entries = made.scan().models
    stamps = {name: made.stamp(entries[name]) for name in ("m", "bad", "local")}
    assert storage.taken() == []
    for name in ("m", "local"):
        opened = made.open(name)
        assert opened.stamp == stamps[name]
        opened.discard()
    storage.held["m"]["2/x"] = b"TWO"
    assert made.stamp(entries["m"]) != stamps["m"]
    assert made.stamp(entries["bad"]) == stamps["bad"]


def test_what_is_no_good_leaves_nothing_and_is_told_as_ever(storage: MemoryStorage) -> None:
    made = sources(storage)
    with pytest.raises(PollFailed) as refused:
        made.open("bad")
    assert "nonsense" in refused.value.reason
    with pytest.raises(NoVersion):
        made.open("empty")
    with pytest.raises(PollFailed) as refused:
        made.run_agents(made.open("agent"))
    assert "Mismatched MD5 hash for file 1/x" in refused.value.reason

    def broken(name: str) -> None:
        raise StorageError(f"failed to download '{name}': no more power")

    storage.before_fetch = broken
    with pytest.raises(PollFailed) as refused:
        made.open("m")
    assert "no more power" in refused.value.reason


def test_the_index_outlives_the_storage(storage: MemoryStorage) -> None:
    made = sources(storage)

    def broken() -> list[str]:
        raise StorageError("failed to list 's3://bucket/repository': no more power")

    works, storage.models = storage.models, broken  # type: ignore[method-assign]
    with pytest.raises(InvalidArgumentError, match="failed to read model repository: failed to"):
        made.known()
    storage.models = works  # type: ignore[method-assign]
    found = made.known()
    storage.models = broken  # type: ignore[method-assign]
    assert made.known() == found
    with pytest.raises(InvalidArgumentError, match="no more power"):
        made.scan()
    with pytest.raises(InvalidArgumentError, match="no more power"):
        made.open("m")


def test_a_name_in_a_folder_and_on_object_storage_is_a_duplicate(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    (tmp_path / "repository" / "m" / "1").mkdir(parents=True)
    made = sources(storage, tmp_path / "repository")
    assert made.scan().duplicates == {"m"}
    with pytest.raises(PollFailed) as refused:
        made.open("m")
    assert refused.value.reason == "model appears in two or more repositories"
