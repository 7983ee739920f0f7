"""What a flag's value may look like: for each kind its name in --help and its parser.

A parser returns the value or raises ValueError whose text completes "--flag=VALUE: ...".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """`form` is shown in --help; empty for a flag that takes no value."""

    form: str
    parse: Callable[[str], Any]


_MOST_OF_A_RESOURCE = 2**31 - 1
# RFC 9110's token.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _boolean(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "on":
            return True
        case "false" | "0" | "off":
            return False
    raise ValueError("expected true, false, 1, 0, on or off")


def _whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError("expected a whole number")
    return int(text)


def whole(low: int, high: int | None = None, form: str = "<integer>") -> Kind:
    """A whole number of at least `low` and, where given, at most `high`."""

    def parse(text: str) -> int:
        value = _whole(text)
        if high is not None and not low <= value <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        if value < low:
            raise ValueError(f"expected a whole number of at least {low}")
        return value

    return Kind(form, parse)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise ValueError("expected a number of seconds above 0")
    return value


def _limit(text: str) -> float:
    try:
        return _seconds(text) if float(text) else 0.0
    except ValueError:
        raise ValueError("expected a number of seconds, or 0 for no limit") from None


def _decimal(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise ValueError("expected a number such as 7.5")
    return float(text)


def choice(*words: str) -> Kind:
    """One of the words, in any case; the value is the word as it is written here."""

    def parse(text: str) -> str:
        for word in words:
            if text.lower() == word.lower():
                return word
        raise ValueError(f"expected one of {', '.join(words)}")

    return Kind("<" + "|".join(words) + ">", parse)


def _verbose(text: str) -> int:
    """A level, or a boolean as older releases had it."""
    if re.fullmatch(r"[0-9]+", text):
        return int(text)
    try:
        return int(_boolean(text))
    except ValueError:
        raise ValueError("expected a level from 0 up, or true or false") from None


def _named(text: str) -> tuple[str, str, str]:
    """`name,key=value` or `key=value`."""
    name, comma, setting = text.partition(",")
    # A comma after the '=' belongs to the value of a setting without a name.
    if not comma or "=" in name:
        name, setting = "", text
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise ValueError("expected <name>,<key>=<value> or <key>=<value>")
    return name, key, value


def _restricted(text: str) -> tuple[str, str, str]:
    """`api[,api...]:header=value`."""
    apis, colon, header = text.partition(":")
    key, equals, value = header.partition("=")
    if not (apis and colon and key and equals and value):
        raise ValueError("expected <api>[,<api>...]:<header>=<value>")
    if not _HEADER_NAME.fullmatch(key):
        raise ValueError(f"'{key}' cannot be the name of a header")
    if value != value.strip():
        raise ValueError("a header's value does not begin or end with blanks")
    return apis, key, value


def shaped(form: str, pattern: str) -> Kind:
    """Text that must match the whole pattern; it is kept as it is."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected {form}")
        return text

    return Kind(form, parse)


def _resource(text: str) -> str:
    """`name:count[:device]`; it is kept as it is."""
    if not re.fullmatch("[^:]+:[0-9]+(:[0-9]+)?", text):
        raise ValueError("expected <name>:<count>[:<device>]")
    for number in text.split(":")[1:]:
        if int(number) > _MOST_OF_A_RESOURCE:
            raise ValueError(f"{number} is more than {_MOST_OF_A_RESOURCE}")
    return text


def _no_blanks(text: str) -> str:
    if re.search(r"\s", text):
        raise ValueError("a model configuration's name must not contain blanks")
    return text


def _regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as bad:
        raise ValueError(f"expected a regular expression ({bad})") from None
    return text


TEXT = Kind("<string>", str)
SWITCH = Kind("", _boolean)
BOOLEAN = Kind("<boolean>", _boolean)
PORT = whole(0, 65535, "<port>")
COUNT = whole(0)
POSITIVE = whole(1)
BYTES = whole(0, form="<bytes>")
SECONDS = Kind("<seconds>", _seconds)
LIMIT = Kind("<seconds>", _limit)
DECIMAL = Kind("<number>", _decimal)
VERBOSE = Kind("<level>", _verbose)
NAMED = Kind("<name>,<key>=<value>", _named)
RESTRICTED = Kind("<api>[,<api>...]:<header>=<value>", _restricted)
RESOURCE = Kind("<name>:<count>[:<device>]", _resource)
CONFIG_NAME = Kind("<string>", _no_blanks)
PATTERN = Kind("<pattern>", _regular_expression)
