"""Looking at repositories: model folders, duplicates, names, times."""

import os
from pathlib import Path

import pytest

from pyserver.errors import InvalidArgumentError
from pyserver.repository.identity import beside
from pyserver.repository.scan import check_model_name, fingerprint, scan


def test_models_are_the_visible_folders(tmp_path: Path) -> None:
    for name in ("b", "a", "with.dot", ".hidden", "..data"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    found = scan([tmp_path])
    assert list(found.models) == ["a", "b", "link", "with.dot"]
    assert found.models["a"].path == tmp_path / "a"
    assert not found.duplicates


def test_a_name_in_several_repositories_is_a_duplicate_and_no_model(tmp_path: Path) -> None:
    for where in ("one/m", "two/m", "three/m", "one/x", "two/y"):
        (tmp_path / where).mkdir(parents=True)
    found = scan([tmp_path / "one", tmp_path / "two", tmp_path / "three"])
    assert set(found.models) == {"x", "y"}
    assert found.duplicates == {"m"}


def test_with_namespacing_models_of_equal_name_are_different_ones(tmp_path: Path) -> None:
    for where in ("one/m", "two/m", "two/y"):
        (tmp_path / where).mkdir(parents=True)
    found = scan([tmp_path / "one", tmp_path / "two"], namespacing=True)
    one, two, y = (f"{tmp_path}/{where}" for where in ("one/m", "two/m", "two/y"))
    assert list(found.models) == [one, two, y]
    assert (found.models[two].name, found.duplicates) == ("m", frozenset())
    assert found.named("m") == [one, two]
    assert (found.named("y"), found.named(two), found.named("z")) == ([y], [two], [])
    # Whom an ensemble means: beside it first, then the only one.
    assert beside(f"{tmp_path}/two/e", "m", found.models) == two
    assert beside(f"{tmp_path}/one/e", "y", found.models) == y
    assert beside(f"{tmp_path}/three/e", "m", found.models) == "m"
    assert beside("e", "m", ["m", "e"]) == "m"


def test_the_same_repository_given_twice_counts_once(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    assert scan([tmp_path, tmp_path]).duplicates == frozenset()


def test_a_missing_repository_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        scan([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "Model name cannot be empty. Please enter a valid name to deploy."),
        ("  ", "Model name cannot be empty. Please enter a valid name to deploy."),
        (
            "../m",
            "invalid model name '../m', model name must not contain path traversal characters",
        ),
        ("a/b", "invalid model name 'a/b', model name must not contain path traversal characters"),
        (
            "a..b",
            "invalid model name 'a..b', model name must not contain path traversal characters",
        ),
        (
            "a\0",
            "invalid model name 'a\0', model name must not contain path traversal characters",
        ),
    ],
)
def test_names_that_no_model_can_have(name: str, text: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        check_model_name(name)
    assert str(refused.value) == text


@pytest.mark.parametrize("name", ["m", "m.identity", "größe", "a b", "%2e%2e"])
def test_names_that_models_may_have(name: str) -> None:
    check_model_name(name)


def test_a_fingerprint_tells_of_every_change_below_the_folder(tmp_path: Path) -> None:
    model = tmp_path / "m"
    deep = model / "1" / "model.onnx"
    deep.parent.mkdir(parents=True)
    seen = [fingerprint(model)]

    def changed() -> bool:
        seen.append(fingerprint(model))
        return seen[-1] not in seen[:-1]

    assert not changed()
    deep.write_text("x")
    assert changed()
    deep.write_text("longer")
    assert changed()
    os.utime(deep, ns=(1, 5_000_000_000_000_000_000))
    assert changed()
    os.replace(deep, model / "1" / "other.onnx")
    assert changed()
    (model / "2").mkdir()
    assert changed()


def test_what_python_leaves_behind_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    before = fingerprint(tmp_path / "m")
    cache = tmp_path / "m" / "1" / "__pycache__"
    cache.mkdir()
    (cache / "model.pyc").write_bytes(b"x")
    assert fingerprint(tmp_path / "m") == before
    assert fingerprint(tmp_path / "gone") == ""
