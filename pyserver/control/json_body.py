"""Request bodies as JSON, refused with the texts of Triton's JSON library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pyserver.errors import InternalError

MAX_DEPTH: Final = 100
_PREFIX: Final = "failed to parse the request JSON buffer: "

_NO_VALUE: Final = "Expecting value"

# Python's complaint -> RapidJSON's. What is missing between two members depends on the bracket.
_TEXTS: Final[Mapping[str, str]] = {
    _NO_VALUE: "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Extra data": "The document root must not be followed by other values.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Illegal trailing comma before end of array": "Invalid value.",
}


def parse_object(body: bytes) -> dict[str, Any]:
    """The members of a JSON object; an empty body has none. Raises InternalError."""
    if not body:
        return {}
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InternalError(f"{_PREFIX}Invalid encoding in string. at {error.start}") from error
    if not text.strip(" \t\r\n"):
        raise InternalError(f"{_PREFIX}The document is empty. at {len(text)}")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        at = error.pos + (_literal_begun(text[error.pos :]) if error.msg == _NO_VALUE else 0)
        raise InternalError(f"{_PREFIX}{_reason(error)} at {at}") from error
    except RecursionError as error:
        raise InternalError(_too_deep()) from error
    if _depth_exceeds(value, MAX_DEPTH):
        raise InternalError(_too_deep())
    if not isinstance(value, dict):
        raise InternalError("attempt to access JSON non-object as object")
    return value


def member(members: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    """The member's value, or the default where it is absent; of exactly this kind."""
    if name not in members:
        return default
    value = members[name]
    if type(value) is not kind:
        raise InternalError(f"attempt to access JSON {_NON[kind]}")
    return value


_NON: Final[Mapping[type, str]] = {
    bool: "non-boolean as boolean",
    str: "non-string as string",
    int: "non-unsigned-integer as unsigned-integer",
    dict: "non-object as object",
    list: "non-array as array",
}


def _too_deep() -> str:
    return f"JSON nesting depth exceeds maximum allowed limit ({MAX_DEPTH})"


def _reason(error: json.JSONDecodeError) -> str:
    if error.msg == "Expecting ',' delimiter":
        if _innermost(error.doc[: error.pos]) == "[":
            return "Missing a comma or ] after an array element."
        return "Missing a comma or } after an object member."
    return _TEXTS.get(error.msg, error.msg + ".")


def _literal_begun(text: str) -> int:
    """How much of null, true or false stands there: RapidJSON complains behind it."""
    for literal in ("null", "true", "false"):
        for length in range(len(literal) - 1, 0, -1):
            if text.startswith(literal[:length]):
                return length
    return 0


def _innermost(text: str) -> str:
    """The bracket that is open at the end of valid JSON's beginning."""
    open_brackets: list[str] = []
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            open_brackets.append(character)
        elif character in "]}" and open_brackets:
            open_brackets.pop()
    return open_brackets[-1] if open_brackets else ""


def _depth_exceeds(value: Any, limit: int) -> bool:
    """Level by level, without recursion."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return any(isinstance(node, dict | list) for node in level)
