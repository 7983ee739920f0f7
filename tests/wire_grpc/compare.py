"""Whether an answer is the one that the real Triton gave: pure functions from two answers to a list
of differences.

Messages are compared by meaning, member by member; texts byte by byte.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from pyserver.control.grpc_stubs import grpc_service_pb2, health_pb2
from tests.wire.compare import stable_text, value_differences
from tests.wire_grpc.exchange import GrpcAnswer
from tests.wire_grpc.requests import GrpcRequest


def meaning(path: str, message: bytes) -> Any:
    """What a message of the method at `path` says; unset members and defaults are left out."""
    if path.startswith("/grpc.health.v1."):
        kind = health_pb2.HealthCheckResponse
    else:
        name = path.rpartition("/")[2]
        kind = getattr(grpc_service_pb2, f"{name}Response", None)
    if kind is None:
        return {"bytes": base64.b64encode(message).decode()}
    try:
        decoded = kind.FromString(message)
    except DecodeError:
        return {"no message of its type": base64.b64encode(message).decode()}
    return MessageToDict(decoded, preserving_proto_field_name=True)


def to_record(request: GrpcRequest, answer: GrpcAnswer) -> dict[str, Any]:
    """An answer as it is kept in recorded.json."""
    record: dict[str, Any] = {"code": answer.code}
    if answer.details:
        record["details"] = answer.details
    if answer.messages:
        record["messages"] = [meaning(request.path, one) for one in answer.messages]
    return record


def differences(
    request: GrpcRequest, wanted: Mapping[str, Any], got: Mapping[str, Any]
) -> list[str]:
    """Every difference between two records that a client could see, as sentences."""
    found = []
    if wanted["code"] != got["code"]:
        found.append(f"code: wanted {_ending(wanted)}, got {_ending(got)}")
    elif stable_text(details(wanted)) != stable_text(details(got)):
        found.append(f"details: wanted {details(wanted)!r}, got {details(got)!r}")
    return found + message_differences(request, messages(wanted), messages(got))


def message_differences(
    request: GrpcRequest, wanted: Sequence[Any], got: Sequence[Any]
) -> list[str]:
    masked = frozenset(request.masked)
    wanted, got = _without(list(wanted), masked), _without(list(got), masked)
    if request.interleaved:
        wanted, got = _by_id(wanted), _by_id(got)
    return value_differences(wanted, got, "messages", frozenset())


def details(record: Mapping[str, Any]) -> str:
    text: str = record.get("details", "")
    return text


def messages(record: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = record.get("messages", [])
    return found


def _ending(record: Mapping[str, Any]) -> str:
    shown = json.dumps(messages(record))[:300]
    return f"{record['code']} {details(record)!r} {shown}"


def _without(value: Any, masked: frozenset[str]) -> Any:
    """A zero is left out of a message, so of members that vary not even their presence counts."""
    if isinstance(value, dict):
        return {name: _without(one, masked) for name, one in value.items() if name not in masked}
    if isinstance(value, list):
        return [_without(one, masked) for one in value]
    return value


def _by_id(answers: list[Any]) -> list[Any]:
    """Stable, so the order of one request's answers is kept."""
    return sorted(answers, key=lambda one: one.get("infer_response", {}).get("id", ""))
