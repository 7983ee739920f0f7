"""What a message of a rule is turned into: a place in the config, the cure in words, and as edits.

Rows that are alike are made by the functions here; those of their own are beside this file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pyserver.check.config_text import ConfigPath, ConfigText
from pyserver.check.syntax import Edit
from pyserver.config.model_config_pb2 import ModelConfig

Match = re.Match[str]


@dataclass(frozen=True, slots=True)
class Cured:
    """What a row makes of a message: a path, the cure in words, and as edits."""

    path: ConfigPath
    wanted: str
    edits: tuple[Edit, ...] = ()


# (match, config, text, how often the same message came before) → the cure.
Row = Callable[[Match, ModelConfig, ConfigText, int], Cured]


# --- paths ---


def nth_of(indices: Iterable[int], nth: int) -> int:
    found = list(indices)
    return found[min(nth, len(found) - 1)] if found else 0


def tensor_path(match: Match, config: ModelConfig, nth: int = 0) -> tuple[str, int]:
    kind, name = match["kind"], match.groupdict().get("name") or ""
    tensors: Sequence[Any] = getattr(config, kind)
    return kind, nth_of((i for i, one in enumerate(tensors) if one.name == name), nth)


def control_path(config: ModelConfig, kind: str) -> ConfigPath:
    for i, tensor in enumerate(config.sequence_batching.control_input):
        for j, control in enumerate(tensor.control):
            if type(control).Kind.Name(control.kind) == kind:
                return ("sequence_batching", "control_input", i, "control", j)
    return ("sequence_batching",)


# --- rows that are alike ---


def sets(path: ConfigPath, value: str, wanted: str) -> Row:
    """Gives a field of the top a value."""
    return lambda m, c, t, n: Cured(path, filled(wanted, m, c), t.setting(path, value))


def removes(path: ConfigPath, wanted: str) -> Row:
    return lambda m, c, t, n: Cured(path, filled(wanted, m, c), t.removing(path))


def at(path: ConfigPath, wanted: str) -> Row:
    return lambda m, c, t, n: Cured(path, filled(wanted, m, c))


def filled(wanted: str, match: Match, config: ModelConfig) -> str:
    known = {key: value or "" for key, value in match.groupdict().items()}
    return wanted.format(**known, max=config.max_batch_size, model=config.name)


def sets_in_tensor(field: str, value: str, wanted: str) -> Row:
    def row(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
        path = (*tensor_path(m, c, n), field)
        return Cured(path, filled(wanted, m, c), t.setting(path, value))

    return row


def removes_in_tensor(field: str, wanted: str) -> Row:
    """The n-th tensor that has the field."""

    def row(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
        kind = m["kind"]
        tensors: Sequence[Any] = getattr(c, kind)
        path = (kind, nth_of((i for i, one in enumerate(tensors) if getattr(one, field)), n), field)
        return Cured(path, filled(wanted, m, c), t.removing(path))

    return row


def sets_in_control(field: str, value: str, wanted: str) -> Row:
    def row(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
        path = (*control_path(c, m["kind"]), field)
        return Cured(path, wanted, t.setting(path, value))

    return row


def size_too_big(section: ConfigPath) -> Row:
    def row(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
        node: Any = c
        for name in section:
            node = getattr(node, str(name))
        bad = [i for i, s in enumerate(node.preferred_batch_size) if not 0 < s <= c.max_batch_size]
        path = (*section, "preferred_batch_size", nth_of(bad, n))
        wanted = (
            f"sizes are from 1 to max_batch_size, which is {c.max_batch_size}; remove this one or"
            " raise max_batch_size"
            if c.max_batch_size
            else "give a max_batch_size, or remove it: a model without one is not batched"
        )
        return Cured(path, wanted, t.removing(path))

    return row
