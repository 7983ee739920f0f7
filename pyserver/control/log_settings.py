"""The log's settings as clients see and change them (Triton's logging extension).

A change concerns the core process, which logs for all models and for their instances; other
processes keep what they were started with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from pyserver.control.json_body import member
from pyserver.errors import UnavailableError, UnsupportedError
from pyserver.settings import Settings

_FORMATS: Final = ("default", "ISO8601")
# What the API calls them -> members of Settings, and their kinds, in the order of the answer.
_FLAGS: Final[Mapping[str, tuple[str, type]]] = {
    "log_info": ("log_info", bool),
    "log_warning": ("log_warning", bool),
    "log_error": ("log_error", bool),
    "log_verbose_level": ("log_verbose", int),
    "log_format": ("log_format", str),
}


class LogSettings:
    """`apply(settings)` makes the process's log follow the settings."""

    def __init__(self, settings: Settings, apply: Callable[[Settings], None]) -> None:
        self._settings = settings
        self._apply = apply

    def view(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"log_file": self._settings.log_file}
        shown |= {name: getattr(self._settings, field) for name, (field, _) in _FLAGS.items()}
        return shown

    def update(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """All that is given, or nothing when something of it is wrong; null leaves as it is."""
        if members.get("log_file") is not None:
            raise UnsupportedError("log file location can not be updated through network protocol")
        changes: dict[str, Any] = {}
        for name, (field, kind) in _FLAGS.items():
            if members.get(name) is not None:
                changes[field] = member(members, name, kind, None)
        if changes.get("log_format", "default") not in _FORMATS:
            raise UnavailableError(
                f"invalid argument for --log_format, got: {changes['log_format']}"
            )
        if changes.get("log_verbose", 0) < 0:
            member({"level": None}, "level", int, None)
        if changes:
            self._settings = replace(self._settings, **changes)
            self._apply(self._settings)
        return self.view()
