"""Text and JSON model configurations → `ModelConfig` messages, strictly: an unknown field is an
error with a suggestion.

Errors are `InvalidArgumentError`s that say where (line and column of a config.pbtxt, path of a JSON
member) and what.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format, text_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from pyserver.config.descriptor_pool import Default as our_pool
from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.errors import InvalidArgumentError

_TOP: Descriptor = ModelConfig.DESCRIPTOR  # type: ignore[assignment]
_UNKNOWN_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "([^"]*)"')
_UNKNOWN_VALUE = re.compile(r'Enum type "(?P<type>[\w.]+)" has no value named (?P<name>[^\s.]+)')
_INVALID_VALUE = re.compile(r"Invalid enum value (?P<name>\S+) for enum type (?P<type>[\w.]+?) at")
# What people write for a datatype, without TYPE_, or for a field → what they mean.
_OTHER_NAMES = {
    "BFLOAT16": "TYPE_BF16",
    "BOOLEAN": "TYPE_BOOL",
    "BYTES": "TYPE_STRING",
    "DOUBLE": "TYPE_FP64",
    "DTYPE": "data_type",
    "FLOAT": "TYPE_FP32",
    "FLOAT16": "TYPE_FP16",
    "FLOAT32": "TYPE_FP32",
    "FLOAT64": "TYPE_FP64",
    "HALF": "TYPE_FP16",
    "INT": "TYPE_INT32",
    "LONG": "TYPE_INT64",
    "OBJECT": "TYPE_STRING",
    "SHAPE": "dims",
}
_POSITION = re.compile(r"^\d+:\d+ : ")
_QUOTED_LINE = re.compile(r"^'.*': ", re.DOTALL)


def parse_text(content: bytes, *, source: str) -> ModelConfig:
    """The message of a config.pbtxt's bytes; `source` is the path that errors name."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidArgumentError(
            f"failed to read text proto from {source}: line {line}: not UTF-8 text"
        ) from error
    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        where = ""
        if error.GetLine() is not None:
            where = f"line {error.GetLine()}, column {error.GetColumn()}: "
        raise InvalidArgumentError(
            f"failed to read text proto from {source}: {where}{_reason(str(error))}"
        ) from error
    except RecursionError as error:
        raise InvalidArgumentError(
            f"failed to read text proto from {source}: nested too deeply"
        ) from error


def parse_json(text: str | bytes) -> ModelConfig:
    """The message of a protobuf-JSON configuration.

    As in Triton: members in lowerCamelCase or snake_case, 64-bit integers as numbers or strings,
    names of enum values in any case, unknown members refused, the last of repeated ones taken.
    """
    try:
        tree = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidArgumentError(f"failed to parse model configuration JSON: {reason}") from error
    return parse_tree(tree)


def parse_tree(tree: object) -> ModelConfig:
    """The message of a configuration that json.loads made: what `parse_json` does after the text is
    read."""
    if not isinstance(tree, dict):
        raise InvalidArgumentError(
            "failed to parse model configuration JSON: expected an object at the top,"
            f" found {type(tree).__name__}"
        )
    try:
        return json_format.ParseDict(_canonical_members(tree, _TOP), ModelConfig())
    except (json_format.ParseError, TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(
            f"failed to parse model configuration JSON: {_reason(str(error))}"
        ) from error


def _canonical_members(tree: dict[str, Any], message: Descriptor) -> dict[str, Any]:
    """A copy of `tree` with the names of enum values as protobuf spells them; anything odd is left
    for its parser."""
    fields = {name: f for f in message.fields for name in (f.name, f.json_name)}
    return {
        name: _canonical_value(value, fields[name]) if name in fields else value
        for name, value in tree.items()
    }


def _canonical_value(value: object, field: FieldDescriptor) -> object:
    if isinstance(value, list):
        return [_canonical_value(item, field) for item in value]
    if field.enum_type is not None and isinstance(value, str):
        return value.upper()
    if field.message_type is None:
        return value
    if field.message_type.GetOptions().map_entry:
        of_value = field.message_type.fields_by_name["value"]
        if isinstance(value, dict):
            return {key: _canonical_value(item, of_value) for key, item in value.items()}
        return value
    if isinstance(value, dict):
        return _canonical_members(value, field.message_type)
    return value


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number")


def _reason(text: str) -> str:
    """The parser's own words, in one line, with a suggestion where a name was not known."""
    text = _QUOTED_LINE.sub("", _POSITION.sub("", text)).split("\n")[0].rstrip()
    text = text.replace(" Available Fields(except extensions):", "")
    if match := _UNKNOWN_FIELD.search(text):
        return text + _did_you_mean(match.group(2), _field_names(match.group(1)))
    if match := _UNKNOWN_VALUE.search(text) or _INVALID_VALUE.search(text):
        return text + _did_you_mean(match["name"], _value_names(match["type"]))
    return text


def _field_names(message: str) -> list[str]:
    try:
        descriptor: Descriptor = our_pool().FindMessageTypeByName(message)
    except KeyError:
        return []
    return [field.name for field in descriptor.fields]


def _value_names(enum: str) -> list[str]:
    try:
        descriptor: EnumDescriptor = our_pool().FindEnumTypeByName(enum)
    except KeyError:
        return []
    return [value.name for value in descriptor.values]


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The known name that was likely meant. FP32 is near TYPE_FP32, inputs near input."""
    known = list(known)
    other = _OTHER_NAMES.get(name.upper().removeprefix("TYPE_"))
    near = [k for k in known if k == other or k.lower().endswith("_" + name.lower())]
    near = near or difflib.get_close_matches(name.lower(), known, n=1)
    near = near or difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8)
    return near[0] if near else None


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    """A tail for the message, empty if nothing is near."""
    near = did_you_mean(name, known)
    return f" Did you mean '{near}'?" if near else ""
