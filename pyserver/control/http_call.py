"""One HTTP request and its answer as plain data, so that routes know nothing of the HTTP
library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyserver.errors import ServerError

JSON_TYPE: Final = "application/json"
TEXT_TYPE: Final = "text/plain"


@dataclass(frozen=True, slots=True)
class HttpCall:
    """`path` is as the client wrote it, without the query; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int = 200
    body: bytes = b""
    content_type: str = TEXT_TYPE


EMPTY: Final = HttpAnswer()


def json_answer(value: Any, status: int = 200) -> HttpAnswer:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return HttpAnswer(status, text.encode("utf-8", "surrogatepass"), JSON_TYPE)


def accepts_json(call: HttpCall) -> bool:
    """Whether the client asks for JSON by that name: who takes anything does not."""
    ranges = call.headers.get("accept", "").split(",")
    return any(one.partition(";")[0].strip().lower() == JSON_TYPE for one in ranges)


def error_answer(status: int, message: str) -> HttpAnswer:
    return json_answer({"error": message}, status)


def refusal(error: ServerError) -> HttpAnswer:
    return error_answer(error.http_status, str(error))
