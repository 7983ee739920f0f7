"""The words of protobuf's text format, each with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    WORD = "word"  # a name, a number, true, KIND_CPU
    STRING = "string"
    SIGN = "sign"  # one of { } < > [ ] : , ; or a character that has no place here
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """`start` and `end` are offsets in the text."""

    kind: Kind
    text: str
    start: int
    end: int


_TOKEN: Final = re.compile(
    r"""
      (?P<skip>\s+|\#[^\n]*)
    | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | (?P<word>-?[\w.][\w.]*(?:(?<=[eE])[+-]\d+)?)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def tokens_of(text: str) -> list[Token]:
    """All tokens, the last of which is the end; comments and blanks are left out."""
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "skip":
            continue
        found.append(Token(Kind(kind), match.group(), match.start(), match.end()))
    found.append(Token(Kind.END, "", len(text), len(text)))
    return found
