"""A model's config.pbtxt as people wrote it: where a field stands, and what its block looks like
when it is corrected.

A path names a field from the top: ("input", 1, "data_type"). A number behind a name picks one of
several values; of a map's entries, a text picks the one of that key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.descriptor import Descriptor

from pyserver.check.syntax import Edit, Flaw, Node, parse
from pyserver.config.model_config_pb2 import ModelConfig

ConfigPath = tuple[str | int, ...]

# A longer block is not shown as a whole: the part of it that is wrong is.
_MOST_LINES: Final = 24
_TOP: Final[Descriptor] = ModelConfig.DESCRIPTOR  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: counted from 1, and an offset in the text."""

    line: int
    column: int
    offset: int


class ConfigText:
    """The text of one file, which need not exist: then all fields are missing in it."""

    def __init__(self, file: Path, content: bytes) -> None:
        self.file = file
        self.text = content.decode("utf-8", "replace")
        parsed = parse(self.text, _TOP)
        self.root = parsed.root
        self.flaws: tuple[Flaw, ...] = parsed.flaws

    def place(self, offset: int) -> Place:
        """The line and column of an offset."""
        before = self.text.rfind("\n", 0, offset)
        return Place(self.text.count("\n", 0, offset) + 1, offset - before, offset)

    def find(self, path: ConfigPath) -> Node:
        """The node of the path, or of as much of it as is there; maybe the whole file."""
        node, _ = self._walk(path)
        return node

    def where(self, path: ConfigPath) -> Place:
        """Where the field stands, or the block that it is missing in."""
        return self.place(self.find(path).start)

    def has(self, path: ConfigPath) -> bool:
        return not self._walk(path)[1]

    def _walk(self, path: ConfigPath) -> tuple[Node, ConfigPath]:
        """The deepest node that is there, and the rest of the path."""
        node, rest = self.root, path
        while rest:
            name, index = rest[0], 0
            step = 1
            if len(rest) > 1 and isinstance(rest[1], int):
                index, step = rest[1], 2
            found = node.named(str(name))
            if isinstance(name, str) and not found:
                found = [one for one in node.children if self._key(one) == name]
            elif len(rest) > 1 and isinstance(rest[1], str):
                keyed = [one for one in found if self._key(one) == rest[1]]
                if keyed:
                    found, step = keyed, 2
            if not -len(found) <= index < len(found):
                break
            node, rest = found[index], rest[step:]
        return node, rest

    @staticmethod
    def _key(node: Node) -> str | None:
        keys = node.named("key")
        return keys[0].text.strip("\"'") if keys else None

    # --- corrections ---

    def setting(self, path: ConfigPath, value: str) -> tuple[Edit, ...]:
        """Gives the field this value: in the place of what it has, or behind what its block has.
        The path names a field without an index; of a repeated one, all values are replaced.
        """
        parent, rest = self._walk(path[:-1])
        name = str(path[-1])
        if rest:
            names = [str(one) for one in rest if isinstance(one, str)]
            inner = f"{name}: {value}"
            for outer in reversed(names[1:]):
                inner = f"{outer} {{ {inner} }}"
            return self.adding(parent, f"{names[0]} {{ {inner} }}")
        present = parent.named(name)
        if not present:
            return self.adding(parent, f"{name}: {value}")
        first = present[0]
        edits = [Edit(first.whole_start, first.whole_end, f"{name}: {value}")]
        done = {first.whole_start}
        for other in present[1:]:
            if other.whole_start not in done:
                done.add(other.whole_start)
                edits.append(Edit(other.whole_start, other.whole_end, ""))
        return tuple(edits)

    def renaming(self, path: ConfigPath, value: str) -> tuple[Edit, ...]:
        """Replaces one scalar's value, which is there."""
        node = self.find(path)
        return (Edit(node.value_start, node.value_end, value),)

    def removing(self, path: ConfigPath) -> tuple[Edit, ...]:
        """Takes out a field that is there, with all its values; where the path picks one of several
        values, only that one."""
        if not self.has(path):
            return ()
        node = self.find(path)
        if path[-1] == node.name:
            starts = {
                one.whole_start: one.whole_end
                for one in (node.parent or self.root).named(node.name)
            }
            return tuple(Edit(start, end, "") for start, end in starts.items())
        siblings = [
            one
            for one in (node.parent or self.root).children
            if one.whole_start == node.whole_start and one.name == node.name
        ]
        if len(siblings) < 2:
            return (Edit(node.whole_start, node.whole_end, ""),)
        at = siblings.index(node)
        if at:
            return (Edit(siblings[at - 1].value_end, node.value_end, ""),)
        return (Edit(node.value_start, siblings[1].value_start, ""),)

    def adding(self, parent: Node, field: str) -> tuple[Edit, ...]:
        """Puts a field behind the last one of a block, as the others stand there."""
        if not parent.children:
            at = parent.value_start + 1 if parent.parent else len(self.text)
            return (Edit(at, at, f" {field} " if parent.parent else f"{field}\n"),)
        last = parent.children[-1]
        line = self.text.rfind("\n", 0, last.whole_start) + 1
        before = self.text[line : last.whole_start]
        gap = "\n" + before if not before.strip() else " "
        return (Edit(last.whole_end, last.whole_end, gap + field),)

    def corrected(self, edits: Sequence[Edit]) -> str:
        """The whole text after the edits; of two that overlap, the one that begins first counts."""
        return _apply(self.text, edits, 0, len(self.text))

    def block(self, offset: int, edits: Sequence[Edit]) -> str:
        """The statement around `offset` after the edits, ready to paste; a long one is narrowed to
        the innermost block that has the offset in it.
        """
        if not edits:
            return ""
        at = min((edit.start for edit in edits), default=offset)
        node = self._innermost(self.root, offset)
        around = [one for one in node.ancestors() if one.parent is not None]
        if not around:
            return "\n".join(edit.text.strip("\n") for edit in edits if edit.text)
        fitting = [one for one in around if self._line_count(one) <= _MOST_LINES]
        chosen = fitting[-1] if fitting else around[0]
        start, end = chosen.whole_start, max(chosen.whole_end, at)
        if not fitting and chosen.parent is not None:
            start, end = chosen.start, chosen.end
        end = max([end, *(edit.end for edit in edits if start <= edit.start <= end)])
        inside = [edit for edit in edits if start <= edit.start and edit.end <= end]
        return _tidy(_apply(self.text, inside, start, end), self.place(start).column - 1)

    def _line_count(self, node: Node) -> int:
        return self.text.count("\n", node.whole_start, node.whole_end) + 1

    def _innermost(self, node: Node, offset: int) -> Node:
        for child in node.children:
            if child.whole_start <= offset <= child.whole_end and (
                child.start <= offset <= child.end or offset < child.start
            ):
                return self._innermost(child, offset)
        return node


def _apply(text: str, edits: Sequence[Edit], start: int, end: int) -> str:
    parts: list[str] = []
    at = start
    for edit in sorted(edits, key=lambda one: (one.start, -one.end)):
        if edit.start < at:
            continue
        parts += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*parts, text[at:end]])


def _tidy(text: str, indent: int) -> str:
    """Without the indentation that the block has in its file, and without lines that an edit
    emptied."""
    lines = [re.sub(rf"^[ \t]{{0,{indent}}}", "", line).rstrip() for line in text.split("\n")]
    return "\n".join(line for line in lines if line)
