"""The comparison itself: what counts as a difference between two answers, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire_grpc.compare import differences, meaning
from tests.wire_grpc.newer import Newer
from tests.wire_grpc.requests import GrpcRequest

_ROW = GrpcRequest(name="row")
_INFER = "/inference.GRPCInferenceService/ModelInfer"


def _ok(*messages: Any) -> dict[str, Any]:
    return {"code": "OK", "messages": list(messages)}


def _refused(details: str, code: str = "INTERNAL") -> dict[str, Any]:
    return {"code": code, "details": details}


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        (_ok({"id": "a", "model_name": "m"}), _ok({"model_name": "m", "id": "a"})),
        (_ok(), {"code": "OK"}),
        (_refused("x\n\nAt:\n  /a.py(1)"), _refused("x")),
        (_refused("Got input(s) ['A','B'], but"), _refused("Got input(s) ['B','A'], but")),
    ],
)
def test_no_difference_is_seen(wanted: dict[str, Any], got: dict[str, Any]) -> None:
    assert differences(_ROW, wanted, got) == []


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        (_ok(), _refused("")),
        (_refused("no."), _refused("no")),
        (_refused("no"), _refused("no", "UNKNOWN")),
        (_ok({"id": "a"}), _ok({"id": "b"})),
        (_ok({"id": "a"}), _ok({"id": "a", "model_name": "m"})),
        (_ok({"id": "a"}, {"id": "b"}), _ok({"id": "b"}, {"id": "a"})),
        (_ok({"raw_output_contents": ["AA=="]}), _ok({"raw_output_contents": []})),
    ],
)
def test_a_difference_is_told(wanted: dict[str, Any], got: dict[str, Any]) -> None:
    assert differences(_ROW, wanted, got) != []


def test_masked_members_do_not_count_wherever_they_are() -> None:
    row = GrpcRequest(name="row", masked=("ns",))
    wanted, got = _ok({"stats": [{"ns": "5", "count": "1"}]}), _ok({"stats": [{"count": "1"}]})
    assert differences(row, wanted, got) == []
    assert differences(_ROW, wanted, got) != []


def test_interleaved_answers_keep_their_order_by_id_only() -> None:
    row = GrpcRequest(name="row", interleaved=True)
    a1, a2, b = (
        {"infer_response": {"id": request_id, "model_name": name}}
        for request_id, name in (("a", "1"), ("a", "2"), ("b", "1"))
    )
    assert differences(row, _ok(a1, b, a2), _ok(a1, a2, b)) == []
    assert differences(row, _ok(a1, b, a2), _ok(a2, a1, b)) != []


def test_bytes_that_are_no_message_of_the_method_are_kept_as_they_are() -> None:
    assert meaning(_INFER, b"\x0a\x01m") == {"model_name": "m"}
    assert meaning(_INFER, b"\xff") == {"no message of its type": "/w=="}
    assert meaning("/other/Method", b"\xff") == {"bytes": "/w=="}


def test_a_newer_answer_replaces_the_recorded_one_or_stands_beside_it() -> None:
    recorded = {"row": _refused("old"), "other": _ok({"id": "o"})}
    newer = Newer("reason", ("UNKNOWN",), "new")
    assert newer.differences(_ROW, _refused("new", "UNKNOWN"), recorded) == []
    assert newer.differences(_ROW, _refused("old"), recorded) != []
    either = Newer("reason", ("UNKNOWN",), contains=("new",), or_recorded=True)
    assert either.differences(_ROW, _refused("old"), recorded) == []
    assert either.differences(_ROW, _refused("a new one", "UNKNOWN"), recorded) == []
    assert Newer("reason", like="other").differences(_ROW, _ok({"id": "o"}), recorded) == []
    with_messages = Newer("reason", ("OK",), messages=[{"id": "n"}])
    assert with_messages.differences(_ROW, _ok({"id": "n"}), recorded) == []
    assert with_messages.differences(_ROW, _ok({"id": "o"}), recorded) != []
