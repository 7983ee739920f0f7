"""URLs of repositories on object storage, and whose credentials count for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyserver.errors import InvalidArgumentError
from pyserver.repository.storage_credentials import FILE_VARIABLE, credential
from pyserver.repository.storage_url import StorageUrl, is_storage_url, parse_storage_url


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("s3://bucket", ("s3", "bucket", "", "")),
        ("s3://bucket/a/b/", ("s3", "bucket/a/b", "", "")),
        ("s3://bucket//a///b", ("s3", "bucket/a/b", "", "")),
        ("s3://host:9000/bucket/a", ("s3", "bucket/a", "http://host:9000", "")),
        ("s3://127.0.0.1:1/bucket", ("s3", "bucket", "http://127.0.0.1:1", "")),
        ("s3://[::1]:9/bucket", ("s3", "bucket", "http://[::1]:9", "")),
        ("s3://https://host:9/bucket/a", ("s3", "bucket/a", "https://host:9", "")),
        ("s3://http://host/bucket", ("s3", "bucket", "http://host", "")),
        ("gs://bucket/a", ("gs", "bucket/a", "", "")),
        ("as://account/container/a", ("as", "container/a", "", "account")),
        (
            "as://account.blob.core.windows.net/container",
            ("as", "container", "", "account.blob.core.windows.net"),
        ),
    ],
)
def test_the_forms_of_triton(text: str, wanted: tuple[str, str, str, str]) -> None:
    scheme, root, endpoint, account = wanted
    assert is_storage_url(text)
    assert parse_storage_url(text) == StorageUrl(text, scheme, root, endpoint, account)


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3:///",
        "s3://host:9000",
        "s3://host:9000/",
        "s3://https://host",
        "gs://",
        "gs://bucket/../other",
        "gs://bucket/a\nb",
        "as://account",
        "as:///container",
        "ftp://bucket/x",
    ],
)
def test_what_is_none_of_them_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="is no model repository on object storage: wanted is"):
        parse_storage_url(text)


def test_folders_are_no_urls() -> None:
    assert not any(map(is_storage_url, ("/models", "models", "s3:/x", "file://x", "./gs://")))


def told(tmp_path: Path, content: object) -> dict[str, str]:
    path = tmp_path / "credentials.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return {FILE_VARIABLE: str(path)}


def test_the_longest_prefix_counts(tmp_path: Path) -> None:
    environ = told(
        tmp_path,
        {
            "s3": {
                "": {"key_id": "default"},
                "s3://bucket": {"key_id": "bucket", "secret_key": "s", "region": ""},
                "bucket/deep": {"key_id": "deep"},
                "s3://bucket/deep/deeper": {"key_id": "deeper"},
            },
            "gs": {"gs://bucket": "/path/of/a/file"},
            "as": {"as://account": {"account_str": "account", "account_key": "k"}},
        },
    ) | {"AWS_ACCESS_KEY_ID": "of the environment"}
    for text, wanted in {
        "s3://other/x": {"key_id": "default"},
        "s3://bucket": {"key_id": "bucket", "secret_key": "s"},
        "s3://bucket/deep": {"key_id": "deep"},
        "s3://bucket/deep/deeper/x": {"key_id": "deeper"},
        "gs://bucket/x": {"file": "/path/of/a/file"},
        "gs://other": {},
        "as://account/container": {"account_str": "account", "account_key": "k"},
    }.items():
        assert credential(parse_storage_url(text), environ) == wanted


def test_the_variables_of_each_store_count_otherwise(tmp_path: Path) -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_DEFAULT_REGION": "here",
        "AZURE_STORAGE_ACCOUNT": "account",
        "AZURE_STORAGE_AUTH_TYPE": "managed_identity",
        "AZURE_STORAGE_CLIENT_ID": "client",
        "GOOGLE_APPLICATION_CREDENTIALS": "/a/file",
    } | told(tmp_path, {"s3": {"s3://elsewhere": {"key_id": "x"}}})
    keys = {"key_id": "id", "secret_key": "secret", "session_token": "token", "region": "here"}
    assert credential(parse_storage_url("s3://b"), environ) == keys
    assert credential(parse_storage_url("gs://b"), environ) == {"file": "/a/file"}
    azure = {"account_str": "account", "auth_type": "managed_identity", "client_id": "client"}
    assert credential(parse_storage_url("as://a/c"), environ) == azure
    profile = credential(parse_storage_url("s3://b"), environ | {"AWS_PROFILE": "mine"})
    assert profile == {"profile": "mine", "region": "here"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("no json", "it is no JSON"),
        ("[]", "should hold credentials by the paths"),
        ({"s3": []}, "should hold credentials by the paths"),
        ({"s3": {"": "text"}}, "should hold texts by name"),
        ({"s3": {"": {"key_id": 3}}}, "should hold texts by name"),
        ({"s3": {"": {"key": "x"}}}, "has 'key'; known are key_id, profile"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: object, why: str) -> None:
    with pytest.raises(InvalidArgumentError, match=FILE_VARIABLE) as refused:
        credential(parse_storage_url("s3://b"), told(tmp_path, content))
    assert why in str(refused.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidArgumentError, match="names '/nowhere', which cannot be used"):
        credential(parse_storage_url("s3://b"), {FILE_VARIABLE: "/nowhere"})
