"""Tables inside Markdown files, between two marker lines, so that no figure is typed by hand:

    <!-- bench: summary results/2026-11-28.json -->
    <!-- /bench -->

The word is one of TABLES. The file of results is named as links are, seen from the Markdown file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.report import goals, markdown
from bench.results import Results

TABLES: Mapping[str, Callable[[Results], str]] = {
    "summary": markdown.summary,
    "full": markdown.full,
    "goals": goals.table,
}
_BEGIN = re.compile(r"<!-- bench: (\S+) (\S+) -->")
_MARKER = "<!-- bench:"
_END = "<!-- /bench -->"
_FENCE = "```"  # what is shown as code is no marker


def update(path: Path, results: Path | None = None) -> bool:
    """Make all blocks of the file anew, of these results if they are given; whether any was not
    current.

    Raises:
        ValueError: a marker is broken or names what is not there; it says where.
    """
    text = path.read_text(encoding="utf-8")
    pointed = text
    if results is not None:
        file = os.path.relpath(results, path.parent)
        pointed = _BEGIN.sub(lambda found: f"{_MARKER} {found[1]} {file} -->", text)
    made = replaced(pointed, path)
    if made != text:
        path.write_text(made, encoding="utf-8")
    return made != text


def is_current(path: Path) -> bool:
    """Whether the blocks are exactly what their results give; raises what `update` does."""
    text = path.read_text(encoding="utf-8")
    return replaced(text, path) == text


def replaced(text: str, path: Path) -> str:
    """The text with its blocks made anew; `path` is where it stands, or shall."""
    kept: list[str] = []
    begun: int | None = None
    fenced = False
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        where = f"{path}:{number}"
        bare = line.rstrip()
        if begun is None and bare.startswith(_FENCE):
            fenced = not fenced
        if fenced:
            kept.append(line)
        elif bare.startswith(_MARKER):
            if begun is not None:
                raise ValueError(f"{where}: the block of line {begun} has no {_END} before this")
            begun = number
            kept.append(line.rstrip("\n") + "\n\n" + _table(bare, path, where) + "\n")
        elif bare == _END:
            if begun is None:
                raise ValueError(f"{where}: {_END} ends no block")
            begun = None
            kept.append(line)
        elif begun is None:
            kept.append(line)
    if begun is not None:
        raise ValueError(f"{path}:{begun}: the block has no {_END}")
    return "".join(kept)


def _table(marker: str, path: Path, where: str) -> str:
    found = _BEGIN.fullmatch(marker)
    if found is None:
        raise ValueError(f"{where}: {marker} is not like <!-- bench: summary results/DATE.json -->")
    name, file = found.groups()
    if name not in TABLES:
        raise ValueError(f"{where}: no table {name}; there are {', '.join(TABLES)}")
    try:
        results = Results.read(path.parent / file)
    except OSError as error:
        raise ValueError(f"{where}: cannot read {file}: {error.strerror}") from error
    return TABLES[name](results)
