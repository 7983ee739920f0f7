"""Whether two servers were seen doing the same: pure functions over what drivers noted."""

from __future__ import annotations

import json
import re
from typing import Any

# Python's frames behind an exception's text name files and lines of one installation.
_TRACEBACK = re.compile(r"\n\nAt:\n.*", re.DOTALL)
# A Python object that is printed in an error's text.
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_REPOSITORY = re.compile(r"/\S*/models/")


def stable(value: Any) -> Any:
    """What was seen, without what differs between two right servers: traces and folders."""
    if isinstance(value, dict):
        return {key: stable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [stable(each) for each in value]
    if isinstance(value, str):
        text = _ADDRESS.sub("<address>", _TRACEBACK.sub("", value))
        return _REPOSITORY.sub("<models>/", text)
    return value


def differences(wanted: Any, got: Any, where: str = "") -> list[str]:
    """Every difference as a sentence; empty when there is none."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        found = [
            f"{where}.{key}: missing, wanted {_text(wanted[key])}"
            for key in wanted.keys() - got.keys()
        ]
        found += [
            f"{where}.{key}: not wanted, got {_text(got[key])}"
            for key in got.keys() - wanted.keys()
        ]
        for key in wanted:
            if key in got:
                found += differences(wanted[key], got[key], f"{where}.{key}")
        return found
    if wanted == got and type(wanted) is type(got):
        return []
    if (_shallow(wanted) and _shallow(got)) or len(_text(wanted)) < 100:
        return [f"{where}: wanted {_text(wanted)}, got {_text(got)}"]
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        return [
            sentence
            for index, (one, other) in enumerate(zip(wanted, got, strict=True))
            for sentence in differences(one, other, f"{where}[{index}]")
        ]
    return [f"{where}: wanted {_text(wanted)}, got {_text(got)}"]


def _shallow(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
