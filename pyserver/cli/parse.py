"""Arguments and environment to Settings. Reads no file, prints nothing, starts nothing.

Flags are `--name=value` or `--name value`, as tritonserver takes them; of a flag that does not
repeat the last one counts.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyserver.cli.checks import first_fault
from pyserver.cli.flags import BY_NAME, SETTINGS_FIELDS, Flag
from pyserver.settings import Settings


class UsageError(Exception):
    """The arguments cannot be used; the text says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Command:
    """What was asked for. `warnings` are to be logged, one line each, once the log is open."""

    settings: Settings
    warnings: tuple[str, ...] = ()
    help: bool = False


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Command:
    """The command that the arguments ask for; UsageError when they are wrong."""
    given = _read(arguments)
    if given is None:
        return Command(Settings(), help=True)
    members: dict[str, Any] = {}
    for name, found in given.items():
        flag = BY_NAME[name]
        if flag.field not in SETTINGS_FIELDS:
            continue
        if flag.repeats:
            members[flag.field] = members.get(flag.field, ()) + tuple(found)
        else:
            members[flag.field] = found[-1]
    if "strict-model-config" in given and "disable-auto-complete-config" not in given:
        members["disable_auto_complete_config"] = given["strict-model-config"][-1]
    if "response-cache-byte-size" in given and "cache-config" not in given:
        size = str(given["response-cache-byte-size"][-1])
        members["cache_config"] = (("local", "size", size),)
    if not members.get("model_repository") and environment.get("AIP_STORAGE_URI"):
        members["model_repository"] = (environment["AIP_STORAGE_URI"],)
    settings = Settings(**members)
    fault = first_fault(settings, given.keys())
    if fault is not None:
        raise UsageError(fault)
    return Command(settings, tuple(_warnings(given, environment)))


def _read(arguments: Sequence[str]) -> dict[str, list[Any]] | None:
    """Every flag's values in their order; None when help was asked for."""
    given: dict[str, list[Any]] = {}
    rest = list(arguments)
    if any(one in ("--help", "-h") for one in rest):
        return None
    while rest:
        argument = rest.pop(0)
        flag, text = _split(argument)
        if not flag.kind.form:
            if text is not None:
                raise UsageError(f"--{flag.name} takes no value, and {text!r} was given")
            text = "true"
        elif text is None:
            if not rest or rest[0].startswith("--"):
                raise UsageError(f"--{flag.name} needs a value: --{flag.name}={flag.kind.form}")
            text = rest.pop(0)
        try:
            value = flag.kind.parse(text)
        except ValueError as bad:
            raise UsageError(f"--{flag.name}={text}: {bad}") from None
        given.setdefault(flag.name, []).append(value)
    return given


def _split(argument: str) -> tuple[Flag, str | None]:
    """The flag that an argument names, and the value after its '=' if there is one."""
    if not argument.startswith("-") or argument in ("-", "--"):
        raise UsageError(f"unexpected argument {argument!r}; options begin with --")
    name, equals, text = argument.removeprefix("--").partition("=")
    if argument.startswith("--") and name in BY_NAME:
        return BY_NAME[name], text if equals else None
    # Underscores are the slip that difflib rates too low.
    near = difflib.get_close_matches(name.lstrip("-").replace("_", "-").lower(), BY_NAME, 1, 0.6)
    hint = f"; did you mean --{near[0]}?" if near else "; --help lists all of them"
    raise UsageError(f"unknown option {argument.partition('=')[0]}{hint}")


def _warnings(given: Mapping[str, list[Any]], environment: Mapping[str, str]) -> list[str]:
    lines = []
    for name in given:
        flag = BY_NAME[name]
        if flag.unused:
            lines.append(f"--{name} has no effect: {flag.unused}")
        elif flag.deprecated:
            lines.append(f"--{name} is deprecated; use {flag.deprecated} instead")
    if environment.get("AIP_MODE") == "PREDICTION":
        lines.append(
            "AIP_MODE=PREDICTION has no effect: the Vertex AI frontend is not part of this version,"
            " and HTTP stays on"
        )
    return lines
