"""What a check has found: one record per mistake or warning, and how people and programs read
it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from pyserver.check.syntax import Edit


class Severity(StrEnum):
    """A mistake keeps the model from being served as its config says; with a warning it works."""

    MISTAKE = "mistake"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `line` and `column` count from 1; 0 means the file as a whole, or a
    folder. `wanted` is the cure in words, `block` the corrected part of the config,
    `edits` what corrects its text.
    """

    model: str
    severity: Severity
    file: str
    line: int
    column: int
    problem: str
    wanted: str
    block: str = ""
    edits: tuple[Edit, ...] = field(default=(), repr=False)

    def to_json(self) -> str:
        """One line of JSON, without the edits."""
        members = asdict(self)
        del members["edits"]
        return json.dumps(members, ensure_ascii=False)

    def to_text(self) -> str:
        """`file:line:column: what is wrong; what was wanted`, and the block, indented."""
        place = self.file
        if self.line:
            place += f":{self.line}"
            if self.column:
                place += f":{self.column}"
        mark = "warning: " if self.severity is Severity.WARNING else ""
        lines = [f"{place}: {mark}{_one_line(self.problem)}; {_one_line(self.wanted)}"]
        lines += [f"    {line}" for line in self.block.splitlines()]
        return "\n".join(lines)


def _one_line(text: str) -> str:
    """Tracebacks have several; their lines stay apart."""
    return " | ".join(part.strip() for part in text.splitlines() if part.strip())


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found, in the order of models and lines. `notes` say what was not looked at."""

    models: tuple[str, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def mistakes(self) -> list[Finding]:
        return [one for one in self.findings if one.severity is Severity.MISTAKE]

    @property
    def warnings(self) -> list[Finding]:
        return [one for one in self.findings if one.severity is Severity.WARNING]

    def summary(self) -> str:
        """`3 models, 1 mistake, 2 warnings`."""
        return ", ".join(
            _counted(number, word)
            for number, word in (
                (len(self.models), "model"),
                (len(self.mistakes), "mistake"),
                (len(self.warnings), "warning"),
            )
        )


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def in_order(findings: Iterable[Finding], models: Sequence[str]) -> tuple[Finding, ...]:
    """By model, file and line; the same thing said twice is said once."""
    rank = {name: number for number, name in enumerate(models)}
    return tuple(
        sorted(
            dict.fromkeys(findings),
            key=lambda one: (rank.get(one.model, len(rank)), one.file, one.line, one.column),
        )
    )
