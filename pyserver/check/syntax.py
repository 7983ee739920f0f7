"""A config's text → a tree whose nodes know where they stand, and every mistake of form.

Unlike protobuf's own parser it goes on after a mistake, so that all of them are told at once; what
it accepts, protobuf is asked about again by whoever calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from pyserver.check.field_values import judge
from pyserver.check.tokens import Kind, Token, tokens_of
from pyserver.config.parse import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLOSES = {"{": "}", "<": ">", "[": "]"}
_MOST_DEPTH = 100
# A file with more is no config.
_MOST_FLAWS = 100


@dataclass(frozen=True, slots=True)
class Edit:
    """Replaces the text from `start` to `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Flaw:
    """A mistake of form at `start`; `edits` would cure it, as far as anybody knows."""

    start: int
    problem: str
    wanted: str
    edits: tuple[Edit, ...] = ()


@dataclass(slots=True)
class Node:
    """One value of a field. `name` is the field's, as it should be spelled. [start, end) is the
    whole `name: value`, or the element alone in a list of several; [value_start, value_end) the
    value with its braces; [whole_start, whole_end) the statement, with all elements of its list.
    """

    name: str
    start: int
    end: int
    value_start: int
    value_end: int
    whole_start: int
    whole_end: int
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    is_message: bool = False
    text: str = ""

    def named(self, name: str) -> list[Node]:
        return [child for child in self.children if child.name == name]

    def ancestors(self) -> Iterator[Node]:
        """Itself, its parent and so on; the innermost first."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


@dataclass(frozen=True, slots=True)
class Parsed:
    root: Node
    flaws: tuple[Flaw, ...]


def parse(text: str, message: Descriptor) -> Parsed:
    """The tree of a whole file that should be text of `message`."""
    reader = _Reader(text)
    root = Node("", 0, len(text), 0, len(text), 0, len(text), is_message=True)
    reader.read_fields(root, message, opened=None, depth=0)
    return Parsed(root, tuple(sorted(reader.flaws, key=lambda flaw: flaw.start)))


class _Reader:
    def __init__(self, text: str) -> None:
        self.flaws: list[Flaw] = []
        self._text = text
        self._tokens = tokens_of(text)
        self._at = 0
        self._open: list[str] = []  # what is to close the blocks that are open

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    @property
    def _is_at_end(self) -> bool:
        return self._next.kind is Kind.END

    @property
    def _last_end(self) -> int:
        return self._tokens[self._at - 1].end if self._at else 0

    def _take(self) -> Token:
        token = self._next
        if token.kind is not Kind.END:
            self._at += 1
        return token

    def _sees(self, *signs: str) -> bool:
        return self._next.kind is Kind.SIGN and self._next.text in signs

    def _flaw(self, start: int, problem: str, wanted: str, *edits: Edit) -> None:
        self.flaws.append(Flaw(start, problem, wanted, edits))
        if len(self.flaws) == _MOST_FLAWS:
            self._at = len(self._tokens) - 1

    def read_fields(
        self, node: Node, message: Descriptor | None, *, opened: Token | None, depth: int
    ) -> None:
        """Until the sign that closes `opened`, which is taken, or the end of the text. Without a
        `message` (an unknown field's), nothing is judged.
        """
        closing = _CLOSES[opened.text] if opened else ""
        outer = {sign for sign in self._open if sign not in ("", closing)}
        self._open.append(closing)
        while self._next.kind is not Kind.END and not self._sees(*outer):
            if closing and self._sees(closing):
                self._take()
                break
            if self._sees(",", ";"):
                self._take()
            elif self._next.kind is Kind.WORD:
                if self._next.text[0] in "-.0123456789":
                    self._read_stray_numbers(node)
                else:
                    self._read_field(node, message, depth)
            else:
                token = self._take()
                self._flaw(
                    token.start,
                    f"unexpected {token.text}",
                    "here the name of a field should stand",
                    Edit(token.start, token.end, ""),
                )
        else:
            if opened is not None:
                at = self._last_end
                line = self._text.count("\n", 0, at) + 1
                self._flaw(
                    opened.start,
                    f"the '{opened.text}' that stands here is never closed",
                    f"a '{closing}' is missing in line {line}",
                    Edit(at, at, f" {closing}"),
                )
        self._open.pop()

    def _read_stray_numbers(self, parent: Node) -> None:
        """`sizes: 4, 8`: what stands behind the comma is no field."""
        first = self._next
        edits = [Edit(first.start, first.end, "")]
        wanted = "here the name of a field should stand"
        while self._next.kind is Kind.WORD and self._next.text[0] in "-.0123456789":
            last = self._take()
            if self._sees(","):
                self._take()
        if parent.children and not parent.children[-1].is_message:
            before = parent.children[-1]
            values = self._text[before.value_start : last.end]
            edits = [Edit(before.value_start, last.end, f"[ {values} ]")]
            wanted = f"several values stand in brackets: {before.name}: [ {values} ]"
        self._flaw(first.start, f"unexpected {first.text}", wanted, *edits)

    def _read_field(self, parent: Node, message: Descriptor | None, depth: int) -> None:
        name = self._take()
        known = {one.name: one for one in message.fields} if message else {}
        field_of = known.get(name.text)
        first_flaw = len(self.flaws)
        if message is not None and field_of is None:
            near = did_you_mean(name.text, known)
            field_of = known.get(near or "")
            edits = [Edit(name.start, name.end, near)] if near else []
            self._flaw(
                name.start,
                f"there is no field '{name.text}' in {_called(message)}",
                f"Did you mean '{near}'?"
                if near
                else f"remove it; the fields here are {', '.join(known)}",
                *edits,
            )
        colon = self._sees(":")
        if colon:
            self._take()
        scalar = field_of is not None and field_of.message_type is None
        if not colon and not self._sees("{", "<", *([] if scalar else ["["])):
            self._missing_colon(name)
            if self._next.kind is Kind.END or self._sees("}", ">", "]", ",", ";"):
                return
        first = len(parent.children)
        self._read_value(parent, name, field_of, message is not None, depth)
        for node in parent.children[first:]:
            node.whole_end = self._last_end
        if field_of is None and message is not None and self.flaws[first_flaw].edits == ():
            # What nobody knows is cured by leaving it out.
            flaw = self.flaws[first_flaw]
            self.flaws[first_flaw] = Flaw(
                flaw.start, flaw.problem, flaw.wanted, (Edit(name.start, self._last_end, ""),)
            )
        self._refuse_second(parent, field_of, first)

    def _missing_colon(self, name: Token) -> None:
        follows = self._next
        if follows.kind in (Kind.END, Kind.SIGN) and follows.text != "[":
            self._flaw(
                name.start,
                f"'{name.text}' has no value",
                f"write '{name.text}: <value>'",
                Edit(name.start, name.end, ""),
            )
            return
        self._flaw(
            name.start,
            f"'{name.text}' and its value need a colon between them",
            f"write '{name.text}: {'[ ... ]' if follows.text == '[' else follows.text}'",
            Edit(name.end, name.end, ":"),
        )

    def _read_value(
        self,
        parent: Node,
        name: Token,
        of: FieldDescriptor | None,
        judged: bool,
        depth: int,
    ) -> None:
        if not self._sees("["):
            self._read_one(parent, name, name.start, of, judged, depth)
            return
        opening = self._take()
        self._open.append("]")
        try:
            self._read_list(parent, name, opening, of, judged, depth)
        finally:
            self._open.pop()

    def _read_list(
        self,
        parent: Node,
        name: Token,
        opening: Token,
        of: FieldDescriptor | None,
        judged: bool,
        depth: int,
    ) -> None:
        if of is not None and not of.is_repeated:
            self._flaw(
                opening.start,
                f"'{of.name}' has one value and cannot be a list",
                "write the value without [ and ]",
            )
        while not self._sees("]"):
            if self._next.kind is Kind.END or self._sees("}", ">"):
                self._flaw(
                    opening.start,
                    "the '[' that stands here is never closed",
                    "a ']' is missing",
                    Edit(self._last_end, self._last_end, " ]"),
                )
                return
            self._read_one(parent, name, self._next.start, of, judged, depth)
            if self._sees(","):
                comma = self._take()
                if self._sees("]"):
                    self._flaw(
                        comma.start,
                        "a list must not end with a comma",
                        "remove the comma before ']'",
                        Edit(comma.start, comma.end, ""),
                    )
            elif not self._sees("]", "}") and not self._is_at_end:
                at = self._last_end
                self._flaw(
                    at,
                    "a comma is missing between two elements",
                    "write a ',' here",
                    Edit(at, at, ","),
                )
        self._take()

    def _read_one(
        self,
        parent: Node,
        name: Token,
        start: int,
        of: FieldDescriptor | None,
        judged: bool,
        depth: int,
    ) -> None:
        value = self._take()
        node = Node(
            of.name if of else name.text,
            start,
            value.end,
            value.start,
            value.end,
            name.start,
            value.end,
            parent,
            text=value.text,
        )
        parent.children.append(node)
        if value.kind is Kind.SIGN and value.text in ("{", "<"):
            self._read_message(node, value, of, judged, depth)
        elif value.kind is Kind.STRING:
            while self._next.kind is Kind.STRING:  # neighbours are one text
                self._take()
            self._judge_scalar(node, value, of)
        elif value.kind is Kind.WORD:
            self._judge_scalar(node, value, of)
        else:
            self._flaw(
                value.start,
                f"'{name.text}' cannot have the value '{value.text}'",
                "a value should stand here; a text needs a quote at both ends"
                if value.text in "\"'"
                else "a value should stand here",
                Edit(name.start, value.end, ""),
            )
        node.value_end = node.end = node.whole_end = self._last_end

    def _read_message(
        self, node: Node, opened: Token, of: FieldDescriptor | None, judged: bool, depth: int
    ) -> None:
        node.is_message = True
        inner = of.message_type if of is not None else None
        if depth >= _MOST_DEPTH:
            self._flaw(opened.start, "nested too deeply", f"at most {_MOST_DEPTH} levels")
            self._at = len(self._tokens) - 1
            return
        self.read_fields(node, inner, opened=opened, depth=depth + 1)
        if of is not None and inner is None and judged:
            self._flaw(
                node.value_start,
                f"'{of.name}' is one value and no block",
                f"write '{of.name}: <value>' without braces",
                Edit(node.start, self._last_end, ""),
            )

    def _judge_scalar(self, node: Node, value: Token, of: FieldDescriptor | None) -> None:
        if of is None:
            return
        if of.message_type is not None:
            self._flaw(
                value.start,
                f"'{of.name}' cannot be {value.text}",
                f"it is a block: {of.name} {{ ... }}",
                Edit(node.start, value.end, ""),
            )
            return
        bad = judge(of, value)
        if bad is not None:
            edit = Edit(value.start, self._last_end, bad.instead or "")
            if bad.instead is None and node.start == node.value_start:  # within a list
                edit = Edit(value.start, self._last_end, "-1" if of.name == "dims" else "1")
            elif bad.instead is None:  # what nobody can guess is left out
                edit = Edit(node.start, self._last_end, "")
            self._flaw(value.start, bad.problem, bad.wanted, edit)

    def _refuse_second(self, parent: Node, of: FieldDescriptor | None, first: int) -> None:
        if of is None or of.is_repeated:
            return
        before = [one for one in parent.children[:first] if one.name == of.name]
        rivals = {one.name for one in of.containing_oneof.fields} if of.containing_oneof else set()
        other = next((one for one in parent.children[:first] if one.name in rivals), None)
        for node in parent.children[first:]:
            cure = Edit(node.whole_start, node.whole_end, "")
            if before:
                line = self._text.count("\n", 0, before[0].start) + 1
                self._flaw(
                    node.whole_start,
                    f"'{of.name}' is given twice, first in line {line}",
                    "remove one of the two",
                    cure,
                )
            elif other is not None:
                self._flaw(
                    node.whole_start,
                    f"'{of.name}' and '{other.name}' exclude each other",
                    "remove one of the two",
                    cure,
                )


def _called(message: Descriptor) -> str:
    return "a model config" if message.name == "ModelConfig" else message.name
