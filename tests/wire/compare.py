"""Whether an answer is the one the real Triton gave: pure functions from two answers to a list of
differences.

JSON is compared by meaning, except where clients see the characters: numbers are compared as they
are written, error texts byte by byte. The order of members does not count, the order of lists
does.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.wire.exchange import CLOSED, Answer

# Headers that are part of the interface; everything else (Date, Server, ...) is the server's own.
RECORDED_HEADERS = (
    "content-type",
    "content-encoding",
    "accept-encoding",
    "inference-header-content-length",
    "transfer-encoding",
)
_COMPARED_HEADERS = ("content-encoding", "accept-encoding")
# Python's frames behind an exception's text name files and lines of one installation.
_TRACEBACK = "\n\nAt:\n"


@dataclass(frozen=True, slots=True)
class _Number:
    """A JSON number as it was written."""

    text: str


def _plain(body: bytes, encoding: str | None) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "deflate":
        return zlib.decompress(body)
    return body


def _parse(text: bytes) -> Any:
    return json.loads(
        text.decode("utf-8", errors="surrogateescape"),
        parse_float=_Number,
        parse_int=_Number,
        parse_constant=_Number,
        strict=False,
    )


def stable_text(text: str) -> str:
    """A text without what differs between two right servers.

    Triton lists the given inputs in the order of a hash table, so they are sorted here.
    """

    def in_order(found: re.Match[str]) -> str:
        return f"Got input(s) [{','.join(sorted(found[1].split(',')))}]"

    return re.sub(r"Got input\(s\) \[([^]]*)\]", in_order, text.partition(_TRACEBACK)[0])


def _describe(value: Any) -> str:
    return value.text if isinstance(value, _Number) else json.dumps(value, default=lambda n: n.text)


def value_differences(wanted: Any, got: Any, where: str, masked: frozenset[str]) -> list[str]:
    if type(wanted) is not type(got):
        return [f"{where}: wanted {_describe(wanted)}, got {_describe(got)}"]
    if isinstance(wanted, dict):
        return _member_differences(wanted, got, where, masked)
    if isinstance(wanted, list):
        if len(wanted) != len(got):
            return [f"{where}: wanted {_describe(wanted)}, got {_describe(got)}"]
        found: list[str] = []
        for index, (one, other) in enumerate(zip(wanted, got, strict=True)):
            found += value_differences(one, other, f"{where}[{index}]", masked)
        return found
    if isinstance(wanted, str):
        wanted, got = stable_text(wanted), stable_text(got)
    if wanted != got:
        return [f"{where}: wanted {_describe(wanted)}, got {_describe(got)}"]
    return []


def _member_differences(
    wanted: Mapping[str, Any], got: Mapping[str, Any], where: str, masked: frozenset[str]
) -> list[str]:
    found = [f"{where}.{name}: missing" for name in wanted if name not in got]
    found += [f"{where}.{name}: not wanted" for name in got if name not in wanted]
    for name in wanted:
        if name not in got:
            continue
        if name not in masked:
            found += value_differences(wanted[name], got[name], f"{where}.{name}", masked)
        elif type(wanted[name]) is not type(got[name]):
            found.append(f"{where}.{name}: another type")
    return found


def _split(answer: Answer) -> tuple[bytes, bytes]:
    """The JSON part of the body and the binary part behind it."""
    body = _plain(answer.body, answer.header("content-encoding"))
    length = answer.header("inference-header-content-length")
    if length is None:
        return body, b""
    return body[: int(length)], body[int(length) :]


def _body_differences(wanted: Answer, got: Answer, masked: frozenset[str]) -> list[str]:
    try:
        wanted_json, wanted_binary = _split(wanted)
        got_json, got_binary = _split(got)
    except (ValueError, OSError, zlib.error) as error:
        return [f"body cannot be taken apart: {error}"]
    found = []
    if wanted_binary != got_binary:
        found.append(f"binary part: wanted {wanted_binary[:80]!r}, got {got_binary[:80]!r}")
    try:
        wanted_value = _parse(wanted_json)
    except ValueError:
        if wanted_json != got_json:
            found.append(f"body: wanted {wanted_json[:200]!r}, got {got_json[:200]!r}")
        return found
    try:
        got_value = _parse(got_json)
    except ValueError:
        return [*found, f"body is no JSON: {got_json[:200]!r}"]
    return found + value_differences(wanted_value, got_value, "body", masked)


def differences(wanted: Answer, got: Answer, masked: Sequence[str] = ()) -> list[str]:
    """Every difference that a client could see, as sentences; empty when there is none.

    Where Triton's HTTP library hangs up without a word, pyserver may say what was wrong first.

    A refusal that Triton sends as text/plain may be sent as application/json: its body is JSON, and
    clients do not look (spec 1.0).
    """
    if wanted.status == CLOSED and 400 <= got.status < 600 and got.status != 500:
        return []
    if wanted.status != got.status:
        return [
            f"status: wanted {wanted.status} {wanted.body[:300]!r}, "
            f"got {got.status} {got.body[:300]!r}"
        ]
    found = []
    for name in _COMPARED_HEADERS:
        if wanted.header(name) != got.header(name):
            found.append(f"{name}: wanted {wanted.header(name)!r}, got {got.header(name)!r}")
    wanted_type, got_type = wanted.header("content-type"), got.header("content-type")
    lenient = wanted.status >= 400 and wanted_type == "text/plain"
    if wanted.status == 200 and not wanted.body:
        lenient = True  # nothing is sent, so its type says nothing
    if wanted_type != got_type and not (lenient and got_type in (None, "application/json")):
        found.append(f"content-type: wanted {wanted_type!r}, got {got_type!r}")
    header = "inference-header-content-length"
    if (wanted.header(header) is None) != (got.header(header) is None):
        found.append(f"{header}: wanted {wanted.header(header)!r}, got {got.header(header)!r}")
    return found + _body_differences(wanted, got, frozenset(masked))


def error_text(answer: Answer) -> str | None:
    """The `error` member of a refusal's body."""
    try:
        value = _parse(_plain(answer.body, answer.header("content-encoding")))
    except (ValueError, OSError, zlib.error):
        return None
    found = value.get("error") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def to_record(answer: Answer) -> dict[str, Any]:
    """An answer as it is kept in recorded.json: the headers of the interface, the body as text
    where it is text.
    """
    record: dict[str, Any] = {"status": answer.status}
    headers = {name: value for name, value in answer.headers if name in RECORDED_HEADERS}
    if headers:
        record["headers"] = headers
    if answer.interim:
        record["interim"] = answer.interim
    try:
        record["text"] = answer.body.decode()
    except UnicodeDecodeError:
        record["base64"] = base64.b64encode(answer.body).decode()
    return record


def from_record(record: Mapping[str, Any]) -> Answer:
    """The inverse of `to_record`."""
    body = base64.b64decode(record["base64"]) if "base64" in record else record["text"].encode()
    return Answer(
        status=record["status"],
        headers=tuple(record.get("headers", {}).items()),
        body=body,
        interim=record.get("interim", 0),
    )
