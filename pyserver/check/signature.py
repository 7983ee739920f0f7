"""A config against what the model says of itself: names, datatypes, dims, batch size."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyserver.check.findings import Severity
from pyserver.check.subject import Subject
from pyserver.config.model_config_pb2 import DataType, ModelConfig, ModelInput, ModelOutput
from pyserver.config.parse import did_you_mean
from pyserver.datatype import BY_WIRE_NAME

_FRAME: Final = re.compile(r"^\s+(?P<file>/[^\n]*)\((?P<line>\d+)\): ", re.MULTILINE)
_SYNTAX: Final = re.compile(r"\((?P<file>[^()\s]+\.py), line (?P<line>\d+)\)")


@dataclass(frozen=True, slots=True)
class _Tensor:
    """What the model says of one: `dims` with the batch's dimension if `whole`, None if it does not
    say."""

    name: str
    data_type: str
    dims: tuple[int, ...] | None
    whole: bool
    optional: bool = False


def compare(subject: Subject, said: Mapping[str, Any]) -> None:
    """`said` as a backend's `describe` gives it: a framework's signature, or a config's dict."""
    config = subject.config
    assert config is not None
    framework = "inputs" in said
    tensors: dict[str, list[_Tensor]] = {
        "input": [_of(one, framework) for one in said["inputs" if framework else "input"]],
        "output": [_of(one, framework) for one in said["outputs" if framework else "output"]],
    }
    if framework and _batch_size_forgotten(subject, config, tensors):
        return
    if framework:
        _batch_dimension(subject, config, [*tensors["input"], *tensors["output"]])
    else:
        _batch_size(subject, config, int(said.get("max_batch_size", 0)))
    made = {name for one in config.batch_input for name in one.target_name}
    for kind, own in tensors.items():
        given: Sequence[ModelInput | ModelOutput] = getattr(config, kind)
        if given and own:
            _compare_kind(subject, config, kind, given, own, made, strict=framework)


def _of(one: Mapping[str, Any], framework: bool) -> _Tensor:
    if framework:
        kind = BY_WIRE_NAME[one["datatype"]].config_name
        return _Tensor(one["name"], kind, tuple(one["dims"]), whole=True)
    dims = tuple(int(dim) for dim in one.get("dims", ()))
    return _Tensor(
        str(one["name"]),
        str(one.get("data_type", "")),
        dims or None,
        whole=False,
        optional=bool(one.get("optional", False)),
    )


def _batch_size_forgotten(
    subject: Subject, config: ModelConfig, own: Mapping[str, Sequence[_Tensor]]
) -> bool:
    """All dims would be right if the model were batched; one message instead of one for each."""
    if config.max_batch_size > 0:
        return False
    wanted = {
        (kind, tensor.name): tensor.dims for kind, tensors in own.items() for tensor in tensors
    }
    given = {
        (kind, tensor.name): tuple(tensor.dims)
        for kind in own
        for tensor in getattr(config, kind)
        if not tensor.HasField("reshape")
    }
    lacking = [
        dims is not None and dims[:1] == (-1,) and dims[1:] == given.get(tensor)
        for tensor, dims in wanted.items()
    ]
    if not lacking or not all(lacking):
        return False
    subject.add(
        ("max_batch_size",),
        "the dims of all tensors lack the model's first dimension, the batch's",
        "add max_batch_size: 4, or as many as fit; or list the batch's dimension, too",
        subject.text.setting(("max_batch_size",), "4"),
    )
    return True


def _batch_dimension(subject: Subject, config: ModelConfig, own: Sequence[_Tensor]) -> None:
    if config.max_batch_size < 1:
        return
    for tensor in own:
        first = tensor.dims[0] if tensor.dims else -1
        if first != -1 and config.max_batch_size > first:
            subject.add(
                ("max_batch_size",),
                f"max_batch_size is {config.max_batch_size}, but the model is not made for batches:"
                f" '{tensor.name}' has the shape {list(tensor.dims or ())}",
                "use max_batch_size: 0 and list all dimensions, or export the model with a variable"
                " first dimension",
                subject.text.setting(("max_batch_size",), "0"),
            )
            return


def _batch_size(subject: Subject, config: ModelConfig, own: int) -> None:
    path = ("max_batch_size",)
    if config.max_batch_size > own > 0:
        subject.add(
            path,
            f"max_batch_size is {config.max_batch_size}, but the model's auto_complete_config sets"
            f" {own}",
            f"use {own} or less",
            subject.text.setting(path, str(own)),
        )
    elif own > config.max_batch_size and subject.text.has(path):
        subject.add(
            path,
            f"max_batch_size {config.max_batch_size} has no effect: the model's"
            f" auto_complete_config sets {own}",
            f"write {own}, or leave it out",
            subject.text.setting(path, str(own)),
            severity=Severity.WARNING,
        )


def _compare_kind(
    subject: Subject,
    config: ModelConfig,
    kind: str,
    given: Sequence[ModelInput | ModelOutput],
    own: Sequence[_Tensor],
    made: set[str],
    *,
    strict: bool,
) -> None:
    known = {tensor.name: tensor for tensor in own}
    configured = {tensor.name for tensor in given}
    free = [name for name in known if name not in configured]
    for index, tensor in enumerate(given):
        if tensor.name in known:
            _compare_one(subject, config, kind, index, tensor, known[tensor.name])
        elif strict:
            near = did_you_mean(tensor.name, free or list(known))
            if near is None and len(free) == 1 and len(own) == len(given):
                near = free[0]
            path = (kind, index, "name")
            subject.add(
                path,
                f"the model has no {kind} '{tensor.name}'; it has {', '.join(known)}",
                f"Did you mean '{near}'?" if near else "name one of these, or remove it",
                subject.text.setting(path, f'"{near}"') if near else (),
            )
    if kind == "output" or len(free) + sum(name in known for name in configured) <= len(given):
        return
    for name in free if len(given) < len(own) else ():
        tensor_of = known[name]
        if name in made or tensor_of.optional:
            continue
        entry = _entry(config, kind, tensor_of)
        subject.add(
            (kind, len(given) - 1),
            f"the model's {kind} '{name}' is missing in the config",
            f"add {entry}",
            subject.text.adding(subject.text.root, entry),
        )


def _entry(config: ModelConfig, kind: str, tensor: _Tensor) -> str:
    dims = list(_dims_for(config, tensor) or [-1])
    return f'{kind} [ {{ name: "{tensor.name}" data_type: {tensor.data_type} dims: {dims} }} ]'


def _dims_for(config: ModelConfig, tensor: _Tensor) -> tuple[int, ...] | None:
    """As a config would list them."""
    if tensor.dims is None or not tensor.whole:
        return tensor.dims
    dims = tensor.dims[1:] if config.max_batch_size > 0 else tensor.dims
    return dims or (1,)


def _compare_one(
    subject: Subject,
    config: ModelConfig,
    kind: str,
    index: int,
    given: ModelInput | ModelOutput,
    own: _Tensor,
) -> None:
    path = (kind, index)
    has = DataType.Name(given.data_type)
    if own.data_type and has not in ("TYPE_INVALID", own.data_type):
        subject.add(
            (*path, "data_type"),
            f"{kind} '{given.name}' is {has} here and {own.data_type} in the model",
            f"use data_type: {own.data_type}",
            subject.text.setting((*path, "data_type"), own.data_type),
        )
    wanted = _dims_for(config, own)
    if wanted is None or not given.dims or getattr(given, "allow_ragged_batch", False):
        return
    seen = tuple(given.reshape.shape) if given.HasField("reshape") else tuple(given.dims)
    scalar = own.whole and len(own.dims or ()) == (1 if config.max_batch_size > 0 else 0)
    if scalar and math.prod(seen) == 1:
        return
    fits = len(seen) == len(wanted) and all(
        a == b or -1 in (a, b) for a, b in zip(seen, wanted, strict=True)
    )
    if not own.whole:
        fits = tuple(given.dims) == wanted
    if fits or _split_by_shape(config, given.name):
        return
    field = "reshape" if given.HasField("reshape") else "dims"
    batch = ", the batch's dimension left out" if config.max_batch_size > 0 else ""
    value = "[ " + ", ".join(str(dim) for dim in wanted) + " ]"
    target = (*path, "reshape", "shape") if field == "reshape" else (*path, "dims")
    subject.add(
        (*path, field),
        f"{kind} '{given.name}' has dims {list(seen)} here and {list(wanted)} in the model{batch}",
        f"use {'shape' if field == 'reshape' else 'dims'}: {value}",
        subject.text.setting(target, value),
    )


def _split_by_shape(config: ModelConfig, name: str) -> bool:
    return any(name in one.target_name for one in config.batch_output)


# --- a model that cannot be loaded ---

# What its error says → what to do about it.
_CURES: Final[tuple[tuple[str, str], ...]] = (
    (r"has no attribute 'TritonPythonModel'", "define class TritonPythonModel in it"),
    (r"Failed to find 'execute'", "define execute(self, requests) in class TritonPythonModel"),
    (
        r"No module named '(?P<name>[\w.]+)'",
        "install '{name}' for the server's Python, or give the model an environment of its own"
        " (EXECUTION_ENV_PATH, or requirements.txt beside it)",
    ),
    (r"pip install '(?P<name>[^']+)'", "run pip install '{name}'"),
    (r"Protobuf parsing failed|INVALID_PROTOBUF", "the file is no ONNX model: export it anew"),
    (r"did not come to an end", "load less at import, or give more time: --timeout-secs"),
    (
        r"ended its process|while it executed the request",
        "correct the model's code; it must not end its process",
    ),
    (r"must return a valid", "return the object that auto_complete_config was given"),
)


def tell_failure(
    subject: Subject,
    error: str,
    *,
    doing: str = "load",
    severity: Severity = Severity.MISTAKE,
) -> None:
    """Why the model does not load, or execute: at the line of its own code, if there is one."""
    config = subject.config
    assert config is not None
    match = next(
        (m for m in _FRAME.finditer(error) if Path(m["file"]).is_relative_to(subject.folder)), None
    )
    file = subject.version_dir / config.default_model_filename
    line = 0
    if match is not None:
        file, line = Path(match["file"]), int(match["line"])
    elif (syntax := _SYNTAX.search(error)) is not None:
        line = int(syntax["line"])
    elif not file.exists():
        file = subject.version_dir
    wanted = f"correct what keeps the model from {'load' if doing == 'load' else 'execut'}ing"
    for pattern, text in _CURES:
        found = re.search(pattern, error)
        if found is not None:
            wanted = text.format(**found.groupdict())
            break
    if severity is Severity.WARNING:
        wanted = "if it needs other values than zeros and ones, give them in a model_warmup sample"
    told = error.split("\n\nAt:")[0]
    subject.add_file(
        file, f"the model cannot {doing}: {told}", wanted, line=line, severity=severity
    )
