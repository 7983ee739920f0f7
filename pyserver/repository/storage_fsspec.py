"""Object storage by fsspec: s3fs, gcsfs and adlfs, which the extra `cloud` brings.

Nothing of a listing is remembered: what a store says is what counts. A file system that failed is
made anew, with credentials as they are then.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pyserver.errors import InvalidArgumentError
from pyserver.repository.storage import (
    Listing,
    StorageError,
    StoredFile,
    checked_listing,
    key_fault,
    log,
    with_retries,
)
from pyserver.repository.storage_credentials import credential
from pyserver.repository.storage_url import StorageUrl

_LIST_WITHIN_S: Final = 120.0
_FETCH_WITHIN_S: Final = 300.0
_SLOWEST_BYTES_PER_S: Final = 256 << 10
_CONNECT_WITHIN_S: Final = 10
_READ_WITHIN_S: Final = 60
# In this order, whichever a store has.
_TAGS: Final = ("ETag", "etag", "generation", "md5Hash", "LastModified", "updated")

Result = TypeVar("Result")


class FsspecStorage:
    """See Storage. May be used by many threads."""

    def __init__(self, url: StorageUrl, environ: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._environ = os.environ if environ is None else environ
        self._lock = threading.Lock()
        self._made: Any = None

    @property
    def url(self) -> str:
        return self._url.text.rstrip("/")

    def models(self) -> list[str]:
        entries = self._call(
            f"list '{self.url}'",
            lambda fs: fs.ls(self._url.root, detail=True, timeout=_LIST_WITHIN_S),
        )
        names = []
        for entry in entries:
            name = _below(entry["name"].rstrip("/"), self._url.root)
            if entry["type"] != "directory" or not name or name.startswith("."):
                continue
            if "/" in name or key_fault(name) is not None:
                log.error("'%s' holds a folder that is no model: %r", self.url, name)
                continue
            names.append(name)
        return sorted(names)

    def listing(self, model: str) -> Listing:
        root = f"{self._url.root}/{model}"
        found = self._call(
            f"list '{self.url}/{model}'",
            lambda fs: fs.find(root, detail=True, withdirs=True, timeout=_LIST_WITHIN_S),
        )
        files, folders = [], []
        for key, entry in found.items():
            name = _below(key, root)
            if name is None or name == "":
                continue
            if entry["type"] == "directory" or name.endswith("/"):
                folders.append(name.removesuffix("/"))
            else:
                files.append(StoredFile(name, int(entry["size"] or 0), _tag(entry)))
        if not files and not folders:
            raise StorageError(f"'{self.url}/{model}' holds nothing")
        return checked_listing(f"{self.url}/{model}", files, folders)

    def stat(self, name: str) -> StoredFile:
        """One object, for `fetch` with the model ""."""
        entry = self._call(
            f"look at '{self.url}/{name}'",
            lambda fs: fs.info(f"{self._url.root}/{name}", timeout=_LIST_WITHIN_S),
        )
        return StoredFile(name, int(entry["size"] or 0), _tag(entry))

    def fetch(self, model: str, file: StoredFile, target: Path) -> None:
        place = f"{model}/{file.name}" if model else file.name
        key = f"{self._url.root}/{place}"
        within_s = _FETCH_WITHIN_S + file.size / _SLOWEST_BYTES_PER_S

        def get(fs: Any) -> None:
            fs.get_file(key, str(target), timeout=within_s, **_GET.get(self._url.scheme, {}))
            size = target.stat().st_size
            if size != file.size:
                raise ValueError(f"{size} bytes came, {file.size} were listed")

        self._call(f"download '{self.url}/{place}'", get)

    def _call(self, what: str, use: Callable[[Any], Result]) -> Result:
        try:
            return with_retries(what, lambda: use(self._file_system()))
        except StorageError:
            with self._lock:
                self._made = None
            raise

    def _file_system(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = _MAKE[self._url.scheme](self._url, self._environ)
            return self._made


def _below(key: str, root: str) -> str | None:
    """The rest behind the root and one slash; None: it lies elsewhere."""
    if key.rstrip("/") == root:
        return ""
    return key[len(root) + 1 :] if key.startswith(f"{root}/") else None


def _tag(entry: Mapping[str, Any]) -> str:
    return next((str(entry[name]) for name in _TAGS if entry.get(name)), "")


def _s3(url: StorageUrl, environ: Mapping[str, str]) -> Any:
    own = credential(url, environ)
    names = {"key_id": "key", "secret_key": "secret", "session_token": "token"}
    options: dict[str, Any] = {names[name]: own[name] for name in names if name in own}
    if "profile" in own:
        options["profile"] = own["profile"]
    config: dict[str, Any] = {
        "connect_timeout": _CONNECT_WITHIN_S,
        "read_timeout": _READ_WITHIN_S,
        "retries": {"max_attempts": 1},
    }
    if url.endpoint:  # servers of one's own seldom have a host name for each bucket
        config["s3"] = {"addressing_style": "path"}
        options["endpoint_url"] = url.endpoint
    client = {"region_name": own["region"]} if "region" in own else {}
    made = _library("s3fs", url).S3FileSystem(
        config_kwargs=config, client_kwargs=client, **options, **_UNCACHED
    )
    made.retries = 1  # we try again ourselves
    return made


def _gs(url: StorageUrl, environ: Mapping[str, str]) -> Any:
    # It would ask for the bucket's kind by gRPC first, which an emulator lets time out.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    token: str | None = credential(url, environ).get("file")
    if token is not None and not Path(token).is_file():
        raise InvalidArgumentError(
            f"the credentials for '{url.text}' should be in the file '{token}', which is not there"
        )
    if token is None and environ.get("STORAGE_EMULATOR_HOST"):
        token = "anon"
    return _library("gcsfs", url).GCSFileSystem(
        token=token, access="read_only", requests_timeout=_READ_WITHIN_S, **_UNCACHED
    )


def _as(url: StorageUrl, environ: Mapping[str, str]) -> Any:
    own = credential(url, environ)
    account, dot, domain = url.account.partition(".")
    adlfs = _library("adlfs", url)
    options: dict[str, Any] = {
        "account_name": account or own.get("account_str"),
        "connection_timeout": _CONNECT_WITHIN_S,
        "read_timeout": _READ_WITHIN_S,
    }
    if dot:
        options["account_host"] = f"{account}{dot}{domain}"
    kind = own.get("auth_type", "")
    if kind in ("default", "managed_identity"):
        identity = importlib.import_module("azure.identity.aio")
        chosen = {"client_id": own["client_id"]} if "client_id" in own else {}
        options["credential"] = (
            identity.ManagedIdentityCredential(**chosen)
            if kind == "managed_identity"
            else identity.DefaultAzureCredential(
                **({"managed_identity_client_id": own["client_id"]} if chosen else {})
            )
        )
    elif kind not in ("", "key", "access_key"):
        raise InvalidArgumentError(
            f"the credentials for '{url.text}' have the auth_type '{kind}'; known are"
            " managed_identity and default"
        )
    elif "account_key" in own:
        options["account_key"] = own["account_key"]
    elif not environ.get("AZURE_STORAGE_CONNECTION_STRING"):
        options["anon"] = True
    return adlfs.AzureBlobFileSystem(**options, **_UNCACHED)


def _library(name: str, url: StorageUrl) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise StorageError(
            f"the model repository '{url.text}' needs {name}, which cannot be imported"
            f" ({error}): pip install 'pyserver[cloud]'"
        ) from error


_UNCACHED: Final[Mapping[str, Any]] = {"skip_instance_cache": True, "use_listings_cache": False}
# One stream for a file: several of them hold hundreds of megabytes in core's memory.
_GET: Final[Mapping[str, Mapping[str, Any]]] = {
    "s3": {"max_concurrency": 1},
    "as": {"max_concurrency": 1},
}
_MAKE: Final[Mapping[str, Callable[[StorageUrl, Mapping[str, str]], Any]]] = {
    "s3": _s3,
    "gs": _gs,
    "as": _as,
}
