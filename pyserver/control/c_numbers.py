"""Numbers in text, read as C's `strtol` reads them, which is how Triton reads them."""

from __future__ import annotations

import re
from typing import Final

_LEADING: Final = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
# Python refuses to convert much longer ones; none of this length fits into 64 bits.
_MOST_DIGITS: Final = 4000


def leading_integer(text: str, bits: int) -> int | None:
    """The integer that the text begins with, blanks before it and anything behind it; None: there
    is none. OverflowError when it does not fit into so many bits, with a sign.
    """
    found = _LEADING.match(text)
    if found is None:
        return None
    number = int(found[1]) if len(found[1]) < _MOST_DIGITS else 1 << bits
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise OverflowError(f"'{text}' does not fit into {bits} bits")
    return number
