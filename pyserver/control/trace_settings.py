"""The trace settings as clients see and change them (Triton's trace extension).

There is no trace file in this version, so the level stays OFF: raising it is refused with Triton's
text for a server that was started without one. All other settings are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pyserver.control.c_numbers import leading_integer
from pyserver.errors import InvalidArgumentError, NotFoundError, UnsupportedError

_LEVELS: Final = frozenset({"TIMESTAMPS", "TENSORS"})
_INT32_MAX: Final = (1 << 31) - 1
_UINT32_MAX: Final = (1 << 32) - 1
# Setting -> (its value at the start, the least and the largest number that Triton names).
_NUMBERS: Final[Mapping[str, tuple[int, int, int]]] = {
    "trace_rate": (1000, 0, _UINT32_MAX),
    "trace_count": (-1, -1, _INT32_MAX),
    "log_frequency": (0, 0, _UINT32_MAX),
}


class Models(Protocol):
    """What there is to know about models here."""

    def names(self) -> list[str]: ...
    def ready_versions(self, name: str) -> Sequence[Any]: ...


@dataclass(slots=True)
class TraceSettings:
    """The server's settings, and per model those that differ. Values are lists of text, as on the
    wire; an empty list in an update clears a setting.
    """

    models: Models
    _server: dict[str, int] = field(default_factory=dict)
    _by_model: dict[str, dict[str, int]] = field(default_factory=dict)

    def view(self, model: str = "") -> dict[str, list[str]]:
        """What holds for a model, or for the whole server (empty name).

        Raises NotFoundError for a model that is unknown, InvalidArgumentError for one that is not
        ready.
        """
        self._refuse_unready(model)
        at_start = {name: first for name, (first, _, _) in _NUMBERS.items()}
        now = at_start | self._server | self._by_model.get(model, {})
        return {
            "trace_level": ["OFF"],
            "trace_rate": [str(now["trace_rate"])],
            "trace_count": [str(now["trace_count"])],
            "log_frequency": [str(now["log_frequency"])],
            "trace_file": [""],
            "trace_mode": ["triton"],
        }

    def update(self, given: Mapping[str, Sequence[str]], model: str = "") -> dict[str, list[str]]:
        """All that is given, or nothing when something of it is wrong; unknown names are passed
        over. Raises what `view` does, UnsupportedError and InvalidArgumentError.
        """
        self._refuse_unready(model)
        if "trace_file" in given:
            raise UnsupportedError(
                "trace file location can not be updated through network protocol"
            )
        raises_level = _raises_level(given.get("trace_level", ()))
        changed = dict(self._by_model.get(model, {}) if model else self._server)
        for name in (known for known in _NUMBERS if known in given):
            changed.pop(name, None)
            if given[name]:
                changed[name] = _number(name, given[name])
        if raises_level:
            raise InvalidArgumentError(
                "Attempting to set invalid trace setting :trace file name is not given"
            )
        if model:
            self._by_model[model] = changed
        else:
            self._server = changed
        return self.view(model)

    def _refuse_unready(self, model: str) -> None:
        if not model:
            return
        if model not in self.models.names():
            raise NotFoundError(f"Request for unknown model: '{model}' is not found")
        if not self.models.ready_versions(model):
            raise InvalidArgumentError(f"Request for unknown model : {model}")


def _raises_level(levels: Sequence[str]) -> bool:
    """Whether something is to be traced. Unknown levels count for nothing, as in Triton."""
    if "OFF" in levels and len(levels) > 1:
        raise InvalidArgumentError("Expect only one trace level 'OFF' is specified")
    return not _LEVELS.isdisjoint(levels)


def _number(name: str, values: Sequence[str]) -> int:
    """As C's `strtol` reads it. Triton reads rates as int and keeps them as unsigned: -1 is their
    largest.
    """
    _, least, most = _NUMBERS[name]
    if len(values) != 1:
        raise InvalidArgumentError(f"expect only 1 value for '{name}'")
    try:
        number = leading_integer(values[0], 32)
    except OverflowError as error:
        raise InvalidArgumentError(
            f"Unable to parse '{name}', value is out of range [ {least}, {most} ], got: {values[0]}"
        ) from error
    if number is None:
        raise InvalidArgumentError(f"Unable to parse '{name}', got: {values[0]}")
    if number < -1 and name == "trace_count":
        raise InvalidArgumentError(
            f"Unable to parse '{name}'. Expecting value >= -1, got: {values[0]}"
        )
    return number & _UINT32_MAX if most == _UINT32_MAX else number
