"""Whether one value of a config's text is one that its field can have; what it should be if not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from google.protobuf.descriptor import FieldDescriptor

from pyserver.check.tokens import Kind, Token
from pyserver.config.parse import did_you_mean

_INTEGER: Final = re.compile(r"-?\s*(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)")
_NUMBER: Final = re.compile(
    r"-?\s*((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[fF]?|0[xX][0-9a-fA-F]+|inf|infinity|nan)",
    re.IGNORECASE,
)
_BOOLEANS: Final = {"true", "True", "t", "1", "false", "False", "f", "0"}

_F = FieldDescriptor
_RANGES: Final = {
    _F.CPPTYPE_INT32: (-(2**31), 2**31 - 1, "32-bit integer"),
    _F.CPPTYPE_INT64: (-(2**63), 2**63 - 1, "64-bit integer"),
    _F.CPPTYPE_UINT32: (0, 2**32 - 1, "32-bit integer that is not negative"),
    _F.CPPTYPE_UINT64: (0, 2**64 - 1, "64-bit integer that is not negative"),
}


@dataclass(frozen=True, slots=True)
class BadValue:
    """`instead` is the text that the value's should be replaced by; None where nobody knows."""

    problem: str
    wanted: str
    instead: str | None = None


def judge(field: FieldDescriptor, token: Token) -> BadValue | None:
    """None if a scalar field can have the value that the token is."""
    said = f"'{field.name}' cannot be {token.text}"
    if field.enum_type is not None:
        return _enum(field, token)
    if field.cpp_type == _F.CPPTYPE_STRING:
        if token.kind is Kind.STRING:
            return None
        return BadValue(
            said, f"it is text, which stands in quotes: {_quoted(token.text)}", _quoted(token.text)
        )
    bare = token.text[1:-1] if token.kind is Kind.STRING else token.text
    if field.cpp_type == _F.CPPTYPE_BOOL:
        if token.kind is Kind.WORD and token.text in _BOOLEANS:
            return None
        likely = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(
            bare.lower(), bare.lower() if bare.lower() in ("true", "false") else None
        )
        return BadValue(said, "it is true or false, without quotes", likely)
    if field.cpp_type in _RANGES:
        return _integer(field, token, bare)
    if token.kind is Kind.WORD and _NUMBER.fullmatch(token.text):
        return None
    return BadValue(
        said, "it is a number, without quotes", bare if _NUMBER.fullmatch(bare) else None
    )


def _quoted(text: str) -> str:
    return f'"{text}"'


def _enum(field: FieldDescriptor, token: Token) -> BadValue | None:
    assert field.enum_type is not None
    known = [value.name for value in field.enum_type.values]
    bare = token.text[1:-1] if token.kind is Kind.STRING else token.text
    if token.kind is Kind.WORD and (bare in known or _INTEGER.fullmatch(bare)):
        return None
    if bare in known:
        return BadValue(
            f"'{field.name}' cannot be {token.text}", f"{bare} stands without quotes", bare
        )
    near = did_you_mean(bare, known)
    wanted = f"Did you mean '{near}'?" if near else f"it is one of {', '.join(known)}"
    return BadValue(f"'{field.name}' has no value named {token.text}", wanted, near)


def _integer(field: FieldDescriptor, token: Token, bare: str) -> BadValue | None:
    low, high, what = _RANGES[field.cpp_type]
    if not _INTEGER.fullmatch(bare):
        whole = re.fullmatch(r"(-?\d+)\.0*", bare)
        return BadValue(
            f"'{field.name}' cannot be {token.text}", f"it is a {what}", whole[1] if whole else None
        )
    if token.kind is Kind.STRING:
        return BadValue(
            f"'{field.name}' cannot be {token.text}", f"it is a {what}, without quotes", bare
        )
    digits = re.sub(r"\s", "", bare)
    octal = len(digits.lstrip("-")) > 1 and digits.lstrip("-").startswith("0")
    value = int(digits, 8 if octal and digits.lstrip("-")[1] not in "xX" else 0)
    if low <= value <= high:
        return None
    return BadValue(f"'{field.name}' cannot be {token.text}", f"it is a {what}")
