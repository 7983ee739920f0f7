"""The rows of the HTTP table as gRPC calls, and why the others are none.

Everything is carried over that protobuf has room for, whether it makes sense or not: what a server
says to it is recorded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from tests.wire.requests import WireRequest
from tests.wire_grpc.protobuf_bytes import block, number
from tests.wire_grpc.requests import GrpcRequest
from tests.wire_grpc.translate_infer import NoMeaning, infer_message

FRAMING = "how HTTP/1.1 delimits requests, or its head"
VERB = "a verb of HTTP that the path does not take"
PATH = "a path of HTTP that leads nowhere"
JSON_OF_A_CALL = "a body that is no JSON, or JSON of a type that the message's field cannot have"

_NAME = r"(?P<name>[^/]*)(/versions/(?P<version>[^/]+))?"
_SHM = r"/v2/(?P<kind>system|cuda)sharedmemory"


def _named(found: re.Match[str], body: bytes) -> bytes:
    """Messages that begin with a name and a version."""
    version = found["version"]
    return block(1, found["name"]) + (block(2, version) if version else b"")


def _nothing(found: re.Match[str], body: bytes) -> bytes:
    return b""


def _object(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        raise NoMeaning(JSON_OF_A_CALL) from None
    return value


def _index(found: re.Match[str], body: bytes) -> bytes:
    ready = _object(body).get("ready", False)
    if not isinstance(ready, bool):
        raise NoMeaning(JSON_OF_A_CALL)
    named = block(1, found["repository"]) if found["repository"] else b""
    return named + (number(2, 1) if ready else b"")


def _load(found: re.Match[str], body: bytes) -> bytes:
    written = block(1, found["repository"]) if found["repository"] else b""
    written += block(2, found["name"])
    parameters = _object(body).get("parameters", {})
    assert isinstance(parameters, dict)
    for key, value in parameters.items():
        assert isinstance(value, bool), "all that the table has"
        written += block(3, block(1, key) + block(2, number(1, value)))
    return written


def _region(found: re.Match[str], body: bytes) -> bytes:
    return block(1, found["region"]) if found["region"] else b""


def _register(found: re.Match[str], body: bytes) -> bytes:
    members = _object(body)
    return _region(found, body) + block(2, str(members["key"])) + number(4, members["byte_size"])


_Build = Callable[[re.Match[str], bytes], bytes]
# Path -> verb, the method, and how its message is made. The first that fits counts.
_ROUTES: tuple[tuple[str, str, str, _Build], ...] = (
    (r"/v2/health/live", "GET", "ServerLive", _nothing),
    (r"/v2/health/ready", "GET", "ServerReady", _nothing),
    (r"/v2/?", "GET", "ServerMetadata", _nothing),
    (r"/v2/models/stats", "GET", "ModelStatistics", _nothing),
    (rf"/v2/models/{_NAME}/ready", "GET", "ModelReady", _named),
    (rf"/v2/models/{_NAME}/config", "GET", "ModelConfig", _named),
    (rf"/v2/models/{_NAME}/stats", "GET", "ModelStatistics", _named),
    (rf"/v2/models/{_NAME}", "GET", "ModelMetadata", _named),
    (r"/v2/repository/((?P<repository>[^/]+)/)?index", "POST", "RepositoryIndex", _index),
    (
        r"/v2/repository/((?P<repository>[^/]+)/)?models/(?P<name>[^/]+)/load",
        "POST",
        "RepositoryModelLoad",
        _load,
    ),
    (
        r"/v2/repository/((?P<repository>[^/]+)/)?models/(?P<name>[^/]+)/unload",
        "POST",
        "RepositoryModelUnload",
        _load,
    ),
    (rf"{_SHM}(/region/(?P<region>[^/]+))?/status", "GET", "SharedMemoryStatus", _region),
    (rf"{_SHM}/region/(?P<region>[^/]+)/register", "POST", "SharedMemoryRegister", _register),
    (rf"{_SHM}/region/(?P<region>[^/]+)/unregister", "POST", "SharedMemoryUnregister", _region),
)
_INFER = re.compile(rf"/v2/models/{_NAME}/infer")


def translate(row: WireRequest) -> GrpcRequest | str:
    """The same call over gRPC, or why there is none."""
    if row.raw is not None:
        return FRAMING
    path = urlsplit(row.path).path
    # What is counted is asked of a server where nobody else counts.
    together = "counted" if row.model == "counted" else ""
    server = "counting" if together else row.server
    try:
        if found := _INFER.fullmatch(path):
            if row.method != "POST":
                return VERB
            message, compression = infer_message(row, found["name"], found["version"] or "")
            return GrpcRequest(
                name=row.name,
                messages=(message,),
                compression=compression,
                together=together,
                server=server,
            )
        made = _endpoint(row, path)
    except NoMeaning as why:
        return why.reason
    if isinstance(made, str):
        return made
    return replace(made, together=together, server=server)


def _endpoint(row: WireRequest, path: str) -> GrpcRequest | str:
    verbs = [verb for pattern, verb, _, _ in _ROUTES if re.fullmatch(pattern, path)]
    for pattern, verb, method, build in _ROUTES:
        found = re.fullmatch(pattern, path)
        if found is None or row.method != verb:
            continue
        prefix = found.groupdict().get("kind", "").capitalize()
        return GrpcRequest(
            name=row.name,
            method=prefix + method,
            messages=(build(found, row.body),),
            masked=row.masked,
            server=row.server,
        )
    return VERB if verbs else PATH
