"""URLs of model repositories on object storage, as Triton writes them.

s3://bucket/path    s3://host:port/bucket/path    s3://https://host:port/bucket/path
gs://bucket/path
as://account/container/path    as://account.blob.core.windows.net/container/path
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pyserver.beneath import fault_in

SCHEMES: Final = ("s3", "gs", "as")
_HOST_AND_PORT: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_FORMS: Final[Mapping[str, str]] = {
    "s3": "s3://bucket/path, s3://host:port/bucket/path or s3://https://host:port/bucket/path",
    "gs": "gs://bucket/path",
    "as": "as://account/container/path",
}


@dataclass(frozen=True, slots=True)
class StorageUrl:
    """`text` as it was given; `root` is the bucket or container, with the path behind it, without
    slashes at its ends. `endpoint` is S3's or empty, `account` Azure's, or its host's name.
    """

    text: str
    scheme: str
    root: str
    endpoint: str = ""
    account: str = ""


def is_storage_url(text: str) -> bool:
    """Whether it names object storage, and no folder."""
    return text.startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def parse_storage_url(text: str) -> StorageUrl:
    """ValueError, with the forms that there are, where it is none of them."""
    scheme, _, rest = text.partition("://")
    endpoint = account = ""
    if scheme == "s3":
        endpoint, rest = _endpoint(rest)
    elif scheme == "as":
        account, _, rest = rest.partition("/")
    root = re.sub("/+", "/", rest).strip("/")
    if scheme not in SCHEMES or not root or fault_in(root) or (scheme == "as" and not account):
        forms = _FORMS.get(scheme) or ", ".join(_FORMS.values())
        raise ValueError(f"'{text}' is no model repository on object storage: wanted is {forms}")
    return StorageUrl(text, scheme, root, endpoint, account)


def _endpoint(rest: str) -> tuple[str, str]:
    """S3's endpoint, if one is named, and what is behind it."""
    for protocol in ("https://", "http://"):
        if rest.startswith(protocol):
            host, _, behind = rest.removeprefix(protocol).partition("/")
            return f"{protocol}{host}", behind if host else ""
    host, _, behind = rest.partition("/")
    if _HOST_AND_PORT.fullmatch(host):
        return f"http://{host}", behind
    return "", rest
