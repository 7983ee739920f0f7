"""Reads cases.txt: the model configurations, good and bad, that the real Triton and ours are both
asked about.

`record.py` asks the real one and keeps its answers in recorded.json; test_recorded.py compares ours
with them. The file has one section a case: `=== name` and what is special about its directory, then
its config.pbtxt, then, behind `--- auto_complete_config`, the body of the model's function of that
name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Case:
    """One model directory: its config.pbtxt (None: no file), and what its version directories
    hold."""

    name: str
    config: str | None
    changes: str | None
    versions: tuple[str, ...]
    file: str

    def write(self, repository: Path, content: str) -> Path:
        """Makes the model's directory; `content` goes into each version's file."""
        folder = repository / self.name
        folder.mkdir()
        if self.config is not None:
            (folder / "config.pbtxt").write_text(self.config)
        for version in self.versions:
            (folder / version).mkdir()
            (folder / version / self.file).write_text(content)
        return folder


def _read(section: str) -> Case:
    head, _, body = section.partition("\n")
    name, *words = head.split()
    special = dict(word.partition("=")[::2] for word in words)
    config, hook, changes = body.partition("--- auto_complete_config\n")
    return Case(
        name=name,
        config=None if "no-config" in special else config.rstrip("\n#"),
        changes=changes.rstrip("\n") if hook else None,
        versions=tuple(v for v in special.get("versions", "1").split(",") if v),
        file=special.get("file", "model.py"),
    )


def _read_all() -> tuple[Case, ...]:
    lines = Path(__file__).with_name("cases.txt").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("##########"))
    return tuple(_read(section) for section in ("\n" + text).split("\n=== ")[1:])


CASES = _read_all()
