"""An inference request's body over HTTP as a ModelInferRequest.

Numbers in JSON become typed contents, bytes behind the JSON raw contents. A value of the wrong kind
goes into the typed field of its own kind, where a server can say what it thinks of it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

from tests.wire.requests import WireRequest
from tests.wire_grpc.requests import Parameters, asked, contents, given, message

NOT_JSON = "the syntax of JSON, or its nesting"
JSON_TYPE = "a member of a JSON type that the message's field cannot have"
NO_VALUE = "data without a value in protobuf: null, objects, numbers beyond 64 bits"
RAW_BODY = "a tensor's bytes alone as the body: gRPC always says whose they are"
SPLIT = "where HTTP's Inference-Header-Content-Length cuts the body"
ENCODING = "HTTP's content codings; what gRPC itself makes of a broken one, no client library sends"

_FIELDS = {
    "BOOL": "bool",
    "INT8": "int",
    "INT16": "int",
    "INT32": "int",
    "INT64": "int64",
    "UINT8": "uint",
    "UINT16": "uint",
    "UINT32": "uint",
    "UINT64": "uint64",
    "FP32": "fp32",
    "FP64": "fp64",
    "BYTES": "bytes",
    # They have no field; this is what a client would try.
    "FP16": "fp32",
    "BF16": "fp32",
}
_OF_INTEGERS = {"int", "int64", "uint", "uint64"}
_OF_FLOATS = {"fp32", "fp64"}


class NoMeaning(Exception):
    """The row cannot be said in gRPC."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def infer_message(row: WireRequest, model: str, version: str) -> tuple[bytes, str]:
    """The message and the compression that it is sent with."""
    body = row.body if row.chunks is None else b"".join(row.chunks)
    headers = {name.lower(): value for name, value in row.headers}
    body, compression = _decoded(body, headers.get("content-encoding", ""))
    text, binary = _cut(body, headers.get("inference-header-content-length"))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise NoMeaning(NOT_JSON) from None
    if not isinstance(value, dict):
        raise NoMeaning(JSON_TYPE)
    return _message(value, binary, model, version), compression


def _decoded(body: bytes, encoding: str) -> tuple[bytes, str]:
    try:
        match encoding:
            case "" | "identity":
                return body, ""
            case "gzip":
                return gzip.decompress(body), "gzip"
            case "deflate":
                return zlib.decompress(body), "deflate"
    except (EOFError, OSError, zlib.error):
        pass
    raise NoMeaning(ENCODING)


def _cut(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    if header_length == "0":
        raise NoMeaning(RAW_BODY)
    if not header_length.isdecimal() or int(header_length) > len(body):
        raise NoMeaning(SPLIT)
    return body[: int(header_length)], body[int(header_length) :]


def _message(value: dict[str, Any], binary: bytes, model: str, version: str) -> bytes:
    raw: list[bytes] = []
    inputs = []
    for one in _list(value.get("inputs")):
        inputs.append(_input(one))
        size = _parameters(one).get("binary_data_size")
        if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
            raw.append(binary[:size])
            binary = binary[size:]
    if binary:
        raw.append(binary)
    outputs = []
    for one in _list(value.get("outputs")):
        if not isinstance(one, dict):
            raise NoMeaning(JSON_TYPE)
        outputs.append(asked(_text(one, "name"), **_parameters(one)))
    return message(
        model,
        *inputs,
        outputs=outputs,
        raw=raw,
        parameters=_parameters(value),
        version=version,
        request_id=_text(value, "id") or "",
    )


def _input(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise NoMeaning(JSON_TYPE)
    shape = value.get("shape", [])
    if not isinstance(shape, list) or any(type(dim) is not int for dim in shape):
        raise NoMeaning(JSON_TYPE)
    if any(not -(2**63) <= dim < 2**64 for dim in shape):
        raise NoMeaning(NO_VALUE)
    datatype = _text(value, "datatype")
    data = _typed(value["data"], datatype or "") if "data" in value else None
    return given(_text(value, "name"), datatype, shape, data, **_parameters(value))


def _typed(data: Any, datatype: str) -> bytes:
    if not isinstance(data, list):
        raise NoMeaning(JSON_TYPE)
    members: dict[str, list[Any]] = {}
    for element in _flat(data):
        members.setdefault(_field(element, datatype), []).append(element)
    if "bytes" in members:
        members["bytes"] = [text.encode() for text in members["bytes"]]
    try:
        return contents(**members)
    except OverflowError:
        raise NoMeaning(NO_VALUE) from None


def _flat(data: list[Any]) -> Iterator[Any]:
    for element in data:
        if isinstance(element, list):
            yield from _flat(element)
        else:
            yield element


def _field(element: Any, datatype: str) -> str:
    own = _FIELDS.get(datatype, "int64")
    if isinstance(element, str):
        return "bytes"
    if isinstance(element, bool):
        return "bool"
    if isinstance(element, int):
        if not -(2**63) <= element < 2**64:
            raise NoMeaning(NO_VALUE)
        return own if own in _OF_INTEGERS | _OF_FLOATS else "int64"
    if isinstance(element, float):
        return own if own in _OF_FLOATS else "fp64"
    raise NoMeaning(NO_VALUE)


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise NoMeaning(JSON_TYPE)
    return value


def _text(value: dict[str, Any], member: str) -> str | None:
    text = value.get(member)
    if text is not None and not isinstance(text, str):
        raise NoMeaning(JSON_TYPE)
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise NoMeaning(NOT_JSON) from None
    return text


def _parameters(value: dict[str, Any]) -> Parameters:
    parameters = value.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise NoMeaning(JSON_TYPE)
    if any(isinstance(one, list | dict) or one is None for one in parameters.values()):
        raise NoMeaning(JSON_TYPE)
    return parameters
