"""The complete config that the server would use for a model, as a config.pbtxt with remarks, and
its way to the disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from pyserver.check.checking import Request, model_folders
from pyserver.check.describing import Describer, own_environment
from pyserver.check.ensembles import is_ensemble
from pyserver.check.private_server import private_server
from pyserver.check.rules import read_subject
from pyserver.check.subject import Subject
from pyserver.config.devices import gpu_count
from pyserver.config.load import CONFIG_FILE, finish, load_config
from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.config.parse import parse_text
from pyserver.errors import AlreadyExistsError, InvalidArgumentError, ServerError

_INDENT: Final = "  "
_WIDTH: Final = 90


@dataclass(frozen=True, slots=True)
class CompleteConfig:
    """`text` is what config.pbtxt should hold; `written` is where it was put, if it was."""

    text: str
    written: Path | None = None
    kept: Path | None = None


def complete_config(request: Request) -> str:
    """The text for the model whose folder the request names. Raises a ServerError with what is
    wrong if the server could not use the model."""
    repository, _, names = model_folders(request.folder)
    name, folder = names[0], repository / names[0]
    if repository == request.folder.resolve():
        raise InvalidArgumentError(
            f"{request.folder} is no model's folder: it has no {CONFIG_FILE} and no version"
        )
    gpus = gpu_count()
    loaded = load_config(
        name, folder, config_name=request.settings.model_config_name or None, gpu_count=gpus
    )
    subject = read_subject(
        name, folder, config_name=request.settings.model_config_name, gpu_count=gpus
    )
    subject.config, subject.versions = loaded.message, loaded.versions
    if is_ensemble(subject) or own_environment(subject):
        config = _served(repository, name, request)
    else:
        config = _described(subject, request, gpus)
    return config_text(config, subject)


def _described(subject: Subject, request: Request, gpus: int) -> ModelConfig:
    describer = Describer(request.settings, request.timeout_s)
    description = describer.describe(subject)
    if description.error:
        raise InvalidArgumentError(f"model '{subject.name}': {description.error}")
    return finish(
        describer.complete(subject, description), gpu_count=gpus, model_dir=subject.folder
    )


def _served(repository: Path, name: str, request: Request) -> ModelConfig:
    """As a server says, where that depends on other models or on the model's own Python."""
    with private_server(repository, request.settings, request.timeout_s) as server:
        server.load(name)
        return ModelConfig.FromString(server.config(name))


def write_config(folder: Path, text: str, *, force: bool) -> CompleteConfig:
    """Puts it into the folder in one step, unless the file there says the same. What was there is
    kept as config.pbtxt.orig; when that is there already, only `force` replaces it. Raises
    AlreadyExistsError, OSError.
    """
    file = folder / CONFIG_FILE
    kept = file.with_name(f"{CONFIG_FILE}.orig")
    if file.exists() and _says_the_same(file, text):
        return CompleteConfig(text)
    had_one = file.exists()
    if had_one and kept.exists() and not force:
        raise AlreadyExistsError(
            f"{kept} is there already, and would be replaced by the present {CONFIG_FILE}; move it"
            " away, or use --force"
        )
    number, name = tempfile.mkstemp(prefix=f".{CONFIG_FILE}.", dir=folder)
    try:
        with os.fdopen(number, "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(name, file.stat().st_mode & 0o777 if had_one else 0o644)
        if had_one:
            kept.unlink(missing_ok=True)
            os.link(file, kept)  # at no moment is there no config
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return CompleteConfig(text, file, kept if had_one else None)


def _says_the_same(file: Path, text: str) -> bool:
    try:
        there = parse_text(file.read_bytes(), source=str(file))
    except ServerError:
        return False
    return bool(there == parse_text(text.encode(), source=str(file)))


# --- text ---

# What people look for first.
_FIRST: Final = (
    "name",
    "backend",
    "platform",
    "default_model_filename",
    "version_policy",
    "max_batch_size",
)


def config_text(config: ModelConfig, given: Subject) -> str:
    """protobuf's text format, as people write it; what their own file left out has a remark."""
    lines = [f"# The whole config of model '{config.name}', as the server uses it."]
    own = given.text
    rank = {name: number for number, name in enumerate(_FIRST)}
    for field, value in sorted(
        config.ListFields(), key=lambda one: rank.get(one[0].name, len(rank))
    ):
        remark = "" if own.has((field.name,)) or not own.text else "not in the file before"
        if not own.text:
            remark = _origin(field.name)
        if remark:
            lines.append(f"# {field.name}: {remark}.")
        lines += _field(field, value, "")
    return "\n".join(lines) + "\n"


def _origin(name: str) -> str:
    """Where a field comes from if there was no file."""
    if name in ("input", "output", "max_batch_size", "dynamic_batching"):
        return "as the model itself says"
    if name in ("backend", "platform", "default_model_filename"):
        return "from the files of its first version"
    return "" if name == "name" else "default"


def _field(field: FieldDescriptor, value: Any, indent: str) -> Iterator[str]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of_key, of_value = (field.message_type.fields_by_name[n] for n in ("key", "value"))
        for key in sorted(value):
            yield f"{indent}{field.name} {{"
            yield from _field(of_key, key, indent + _INDENT)
            yield from _field(of_value, value[key], indent + _INDENT)
            yield f"{indent}}}"
    elif field.message_type is not None and field.is_repeated:
        yield f"{indent}{field.name} ["
        for number, item in enumerate(value, 1):
            comma = "," if number < len(value) else ""
            yield from _block("", item, indent + _INDENT, comma)
        yield f"{indent}]"
    elif field.message_type is not None:
        yield from _block(f"{field.name} ", value, indent, "")
    elif field.is_repeated:
        yield f"{indent}{field.name}: [ {', '.join(_scalar(field, one) for one in value)} ]"
    else:
        yield f"{indent}{field.name}: {_scalar(field, value)}"


def _block(head: str, message: Message, indent: str, comma: str) -> Iterator[str]:
    inner: list[str] = []
    for field, value in message.ListFields():
        inner += _field(field, value, indent + _INDENT)
    line = f"{indent}{head}{{ {' '.join(part.strip() for part in inner)} }}{comma}"
    if len(line) <= _WIDTH and not any("[" in part and ":" not in part for part in inner):
        yield line.replace("{  }", "{ }")
        return
    yield f"{indent}{head}{{"
    yield from inner
    yield f"{indent}}}{comma}"


def _scalar(field: FieldDescriptor, value: Any) -> str:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float):
        short = f"{value:.7g}"
        return short if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT else repr(value)
    return str(value)


def _quoted(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    parts: Sequence[str] = [escapes.get(c) or (c if c >= " " else f"\\{ord(c):03o}") for c in text]
    return f'"{"".join(parts)}"'
