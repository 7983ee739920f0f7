"""The comparison itself: what counts as a difference between two answers, and what does not."""

from __future__ import annotations

import gzip

import pytest

from tests.wire.compare import differences, error_text, from_record, to_record
from tests.wire.exchange import CLOSED, Answer

_JSON = (("content-type", "application/json"),)
_PLAIN = (("content-type", "text/plain"),)


def _json(body: str, status: int = 200) -> Answer:
    return Answer(status=status, headers=_JSON, body=body.encode())


def _binary(text: str, tail: bytes) -> Answer:
    length = ("inference-header-content-length", str(len(text)))
    kind = ("content-type", "application/octet-stream")
    return Answer(status=200, headers=(kind, length), body=text.encode() + tail)


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        (_json('{"a":1,"b":[2.0]}'), _json('{"b": [2.0], "a": 1}')),
        (_json('{"data":[NaN,-Infinity]}'), _json('{"data":[NaN,-Infinity]}')),
        (_json('{"a":"\\u00e9"}'), _json('{"a":"é"}')),
        (_binary('{"a":1}', b"xy"), _binary('{ "a": 1 }', b"xy")),
        (Answer(400, _PLAIN, b'{"error":"no"}'), _json('{"error":"no"}', 400)),
        (Answer(200, _PLAIN), Answer(200, ())),
        (Answer(CLOSED), _json('{"error":"bad chunk"}', 400)),
        (_json('{"error":"x\\n\\nAt:\\n  /a.py(1)"}', 500), _json('{"error":"x"}', 500)),
        (
            _json("{\"error\":\"Got input(s) ['A','B'], but\"}", 400),
            _json("{\"error\":\"Got input(s) ['B','A'], but\"}", 400),
        ),
    ],
)
def test_no_difference_is_seen(wanted: Answer, got: Answer) -> None:
    assert differences(wanted, got) == []


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        (_json("{}"), _json("{}", 400)),
        (_json('{"data":[1.0]}'), _json('{"data":[1]}')),
        (_json('{"data":[0.1]}'), _json('{"data":[1e-1]}')),
        (_json('{"data":[1,2]}'), _json('{"data":[2,1]}')),
        (_json('{"a":"1"}'), _json('{"a":1}')),
        (_json('{"a":true}'), _json('{"a":1}')),
        (_json('{"a":1}'), _json('{"a":1,"b":2}')),
        (_json('{"a":1,"b":2}'), _json('{"a":1}')),
        (_json('{"error":"no."}', 400), _json('{"error":"no"}', 400)),
        (_json("{}"), _json("none")),
        (_json("{}"), Answer(200, _PLAIN, b"{}")),
        (_binary("{}", b"xy"), _binary("{}", b"xz")),
        (_binary("{}", b"xy"), _json("{}xy")),
        (Answer(CLOSED), _json("{}")),
        (Answer(CLOSED), _json("{}", 500)),
        (_json("{}"), Answer(200, (*_JSON, ("content-encoding", "gzip")), gzip.compress(b"{}"))),
    ],
)
def test_a_difference_is_told(wanted: Answer, got: Answer) -> None:
    assert differences(wanted, got) != []


def test_masked_members_need_only_be_of_the_same_type() -> None:
    wanted = _json('{"stats":[{"ns":5,"count":1}]}')
    assert differences(wanted, _json('{"stats":[{"ns":7,"count":1}]}'), ["ns"]) == []
    assert differences(wanted, _json('{"stats":[{"ns":"7","count":1}]}'), ["ns"]) != []
    assert differences(wanted, _json('{"stats":[{"ns":7,"count":2}]}'), ["ns"]) != []


@pytest.mark.parametrize("body", [b"", b'{"a":"\xc3\xa9"}', b"\xff\x00\xfe"])
def test_a_recorded_answer_comes_back_as_it_was(body: bytes) -> None:
    answer = Answer(status=200, headers=_JSON, body=body, interim=1)
    assert from_record(to_record(answer)) == answer


def test_the_error_text_is_found_in_compressed_answers_too() -> None:
    encoded = (*_JSON, ("content-encoding", "gzip"))
    assert error_text(Answer(400, encoded, gzip.compress(b'{"error":"no"}'))) == "no"
    assert error_text(_json("[]", 400)) is None
    assert error_text(Answer(400, _PLAIN, b"none")) is None
