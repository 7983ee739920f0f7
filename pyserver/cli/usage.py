"""The text of --help, made from the table of flags."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from pyserver.cli.flags import GROUPS, SETTINGS_FIELDS, Flag
from pyserver.settings import Settings

_WIDTH = 96
_INDENT = " " * 8


def usage() -> str:
    """The whole text, ending with a line break."""
    return "\n".join(_lines(Settings())) + "\n"


def _lines(defaults: Settings) -> Iterator[str]:
    yield "Usage: pyserver --model-repository=<folder> [options]"
    yield "       pyserver check <folder>     what is wrong with a model repository, and the cure"
    yield "       pyserver config <folder>    the complete config of a model; --write keeps it"
    yield ""
    yield "Serves the models of a Triton model repository. Options are written --name=value or"
    yield "--name value; those marked (*) may be given more than once."
    for title, flags in GROUPS.items():
        yield ""
        reasons = {flag.unused for flag in flags}
        shared = reasons.pop() if len(reasons) == 1 else ""
        yield f"{title}:"
        if shared:
            yield f"  (all accepted without effect: {shared})"
        for flag in flags:
            yield (
                f"  --{flag.name}"
                + (f"={flag.kind.form}" if flag.kind.form else "")
                + (" (*)" if flag.repeats else "")
            )
            yield from textwrap.wrap(
                _about(flag, defaults, shared),
                _WIDTH,
                initial_indent=_INDENT,
                subsequent_indent=_INDENT,
                break_on_hyphens=False,
            )
    yield ""
    yield "Other:"
    yield "  --help, -h"
    yield f"{_INDENT}this text"


def _about(flag: Flag, defaults: Settings, shared_reason: str) -> str:
    parts = [flag.help]
    if flag.field in SETTINGS_FIELDS and not flag.alias_of:
        shown = _shown(getattr(defaults, flag.field))
        if shown:
            parts.append(f"default {shown}")
    if flag.deprecated:
        parts.append(f"deprecated, use {flag.deprecated}")
    if flag.unused and not shared_reason:
        parts.append(f"accepted without effect: {flag.unused}")
    return "; ".join(parts)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(str(one) for one in value)
    return str(value)
