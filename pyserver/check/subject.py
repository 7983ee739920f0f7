"""One model under check: its folder, its config as far as it can be read, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyserver.check.config_text import ConfigPath, ConfigText
from pyserver.check.findings import Finding, Severity
from pyserver.check.places import cure
from pyserver.check.syntax import Edit
from pyserver.config.model_config_pb2 import ModelConfig


@dataclass(slots=True)
class Subject:
    """What is known of a model grows from step to step; a step that cannot be done leaves None.

    `config` is normalised and not completed, `finished` as the server would use it. `versions` are
    those that would be served, ascending. `needs` is empty, or says what this machine lacks to run
    the model.
    """

    name: str
    folder: Path
    text: ConfigText
    config: ModelConfig | None = None
    finished: ModelConfig | None = None
    versions: tuple[int, ...] = ()
    needs: str = ""
    findings: list[Finding] = field(default_factory=list)
    _said: dict[str, int] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        return not any(one.severity is Severity.MISTAKE for one in self.findings)

    @property
    def version_dir(self) -> Path:
        """Of the newest version that would be served."""
        return self.folder / str(self.versions[-1])

    def add(
        self,
        path: ConfigPath,
        problem: str,
        wanted: str,
        edits: Sequence[Edit] = (),
        *,
        severity: Severity = Severity.MISTAKE,
    ) -> None:
        """At a field of the config, or where it is missing."""
        self.add_at(self.text.find(path).start, problem, wanted, edits, severity=severity)

    def add_at(
        self,
        offset: int,
        problem: str,
        wanted: str,
        edits: Sequence[Edit] = (),
        *,
        severity: Severity = Severity.MISTAKE,
    ) -> None:
        """At an offset of the config's text."""
        place = self.text.place(offset)
        written = bool(self.text.text)
        self.findings.append(
            Finding(
                model=self.name,
                severity=severity,
                file=str(self.text.file),
                line=place.line if written else 0,
                column=place.column if written else 0,
                problem=problem,
                wanted=wanted,
                block=self.text.block(offset, edits),
                edits=tuple(edits),
            )
        )

    def add_file(
        self,
        file: Path,
        problem: str,
        wanted: str,
        *,
        line: int = 0,
        severity: Severity = Severity.MISTAKE,
    ) -> None:
        """In another file, or of a folder."""
        self.findings.append(Finding(self.name, severity, str(file), line, 0, problem, wanted))

    def add_rule(self, message: str, *, severity: Severity = Severity.MISTAKE) -> None:
        """What a rule of pyserver.config says, at the place that it means."""
        config = self.finished or self.config or ModelConfig()
        nth = self._said.get(message, 0)
        self._said[message] = nth + 1
        found = cure(message, config, self.text, nth)
        if found is None:
            self.add((), message, "correct the config", severity=severity)
        else:
            self.add(found.path, message, found.wanted, found.edits, severity=severity)
