"""Credentials for object storage, where Triton's users have them.

TRITON_CLOUD_CREDENTIAL_PATH names a JSON file: below "gs", "s3" and "as" each entry's key is the
beginning of a repository's path, and the longest that fits counts ("" fits all). Without it, or
without an entry that fits, the usual variables of each store are heeded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pyserver.errors import InvalidArgumentError
from pyserver.repository.storage_url import StorageUrl

FILE_VARIABLE: Final = "TRITON_CLOUD_CREDENTIAL_PATH"
_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "s3": frozenset({"secret_key", "key_id", "region", "session_token", "profile"}),
    "as": frozenset({"account_str", "account_key", "auth_type", "client_id"}),
}


def credential(url: StorageUrl, environ: Mapping[str, str]) -> dict[str, str]:
    """What is to be used for the repository: members as in the file; for "gs" one named "file".

    Raises InvalidArgumentError for a file that is none.
    """
    given = _from_file(url, environ)
    return _from_environment(url.scheme, environ) if given is None else given


def _from_environment(scheme: str, environ: Mapping[str, str]) -> dict[str, str]:
    names = {
        "gs": {"file": "GOOGLE_APPLICATION_CREDENTIALS"},
        # The library that speaks to S3 reads these itself, and has more ways when none is set.
        "s3": {"profile": "AWS_PROFILE", "region": "AWS_DEFAULT_REGION"},
        "as": {
            "account_str": "AZURE_STORAGE_ACCOUNT",
            "account_key": "AZURE_STORAGE_KEY",
            "auth_type": "AZURE_STORAGE_AUTH_TYPE",
            "client_id": "AZURE_STORAGE_CLIENT_ID",
        },
    }[scheme]
    if scheme == "s3" and not environ.get("AWS_PROFILE"):
        names |= {
            "key_id": "AWS_ACCESS_KEY_ID",
            "secret_key": "AWS_SECRET_ACCESS_KEY",
            "session_token": "AWS_SESSION_TOKEN",
        }
    return {member: environ[name] for member, name in names.items() if environ.get(name)}


def _from_file(url: StorageUrl, environ: Mapping[str, str]) -> dict[str, str] | None:
    place = environ.get(FILE_VARIABLE)
    if not place:
        return None
    try:
        content = json.loads(Path(place).read_bytes())
    except OSError as error:
        raise _refusal(place, error.strerror or str(error)) from error
    except ValueError as error:
        raise _refusal(place, f"it is no JSON: {error}") from error
    entries = content.get(url.scheme, {}) if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise _refusal(place, f"'{url.scheme}' should hold credentials by the paths they are for")
    own = url.text.removeprefix(f"{url.scheme}://")
    lengths = {prefix: len(prefix.removeprefix(f"{url.scheme}://")) for prefix in entries}
    fitting = [one for one in entries if own.startswith(one.removeprefix(f"{url.scheme}://"))]
    if not fitting:
        return None
    prefix = max(fitting, key=lengths.__getitem__)
    return _checked(place, url.scheme, prefix, entries[prefix])


def _checked(place: str, scheme: str, prefix: str, entry: Any) -> dict[str, str]:
    if scheme == "gs":
        if not isinstance(entry, str):
            raise _refusal(place, f"'{prefix}' of 'gs' should be the path of a credential file")
        return {"file": entry} if entry else {}
    known = _MEMBERS[scheme]
    if not isinstance(entry, dict) or not all(isinstance(one, str) for one in entry.values()):
        raise _refusal(place, f"'{prefix}' of '{scheme}' should hold texts by name")
    unknown = sorted(entry.keys() - known)
    if unknown:
        raise _refusal(
            place,
            f"'{prefix}' of '{scheme}' has '{unknown[0]}'; known are {', '.join(sorted(known))}",
        )
    return {name: value for name, value in entry.items() if value}


def _refusal(place: str, why: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{FILE_VARIABLE} names '{place}', which cannot be used: {why}")
