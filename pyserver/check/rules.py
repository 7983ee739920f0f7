"""A model's config: read in spite of its mistakes, and held against every rule of
pyserver.config."""

from __future__ import annotations

import re
from pathlib import Path

from pyserver.backends import BACKENDS
from pyserver.check.config_text import ConfigText
from pyserver.check.findings import Severity
from pyserver.check.subject import Subject
from pyserver.config.autofill import ENSEMBLE_PLATFORM, FORMATS, autofill
from pyserver.config.load import CONFIG_FILE, CUSTOM_FOLDER, first_version_files
from pyserver.config.model_config_pb2 import ModelConfig, ModelInstanceGroup
from pyserver.config.normalize import normalize
from pyserver.config.parse import did_you_mean, parse_text
from pyserver.config.validate import (
    EARLY_RULES,
    LATE_RULES,
    Rule,
    backend_is_known,
    platform_fits_backend,
)
from pyserver.config.validate_ensemble import ensemble_leaves_out_what_steps_decide
from pyserver.config.validate_instances import instance_groups_are_possible
from pyserver.config.versions import list_versions
from pyserver.errors import ServerError

_MOST_BYTES = 4 << 20
_PLACE = re.compile(r"line (\d+)(?:, column (\d+))?: (.*)", re.DOTALL)


def read_subject(name: str, folder: Path, *, config_name: str = "", gpu_count: int) -> Subject:
    """Reads the config of a model's folder, and tells every mistake that it has by itself."""
    file = folder / CONFIG_FILE
    custom = folder / CUSTOM_FOLDER / f"{config_name}.pbtxt"
    if config_name and custom.exists():
        file = custom
    content, problem, wanted = _read(file)
    subject = Subject(name, folder, ConfigText(file, content))
    if problem:
        subject.add_file(file, problem, wanted)
        return subject
    message = _parse(subject, content)
    if message is not None:
        _judge(subject, message, gpu_count)
    return subject


def _read(file: Path) -> tuple[bytes, str, str]:
    """The content, or what is wrong and what to do; a file that is missing is empty."""
    try:
        if not file.exists():
            return b"", "", ""
        if not file.is_file():
            return b"", "the config is not a regular file", "replace it by one"
        if file.stat().st_size > _MOST_BYTES:
            return b"", f"the config has more than {_MOST_BYTES} bytes", "is it the right file?"
        return file.read_bytes(), "", ""
    except OSError as error:
        return b"", f"the config cannot be read: {error.strerror}", "make it readable"


def _parse(subject: Subject, content: bytes) -> ModelConfig | None:
    """The message, of the text as it would be without its mistakes of form."""
    text = subject.text
    edits = [edit for flaw in text.flaws for edit in flaw.edits]
    for flaw in text.flaws:
        subject.add_at(flaw.start, flaw.problem, flaw.wanted, edits)
    corrected = text.corrected(edits).encode() if text.flaws else content
    try:
        return parse_text(corrected, source=str(text.file))
    except ServerError as error:
        if not text.flaws:
            _tell_parser(subject, str(error))
        return None


def _tell_parser(subject: Subject, message: str) -> None:
    """What protobuf refuses, and we did not see."""
    match = _PLACE.search(message)
    offset, told = 0, message
    if match is not None:
        lines = subject.text.text.splitlines(keepends=True)
        offset = sum(len(line) for line in lines[: int(match[1]) - 1])
        offset += max(0, int(match[2] or 1) - 1)
        told = match[3]
    problem, _, hint = told.partition(" Did you mean")
    wanted = f"Did you mean{hint}" if hint else "correct the text here"
    if "not UTF-8" in told:
        wanted = "save the file as UTF-8"
    subject.add_at(offset, problem, wanted)


def _judge(subject: Subject, config: ModelConfig, gpu_count: int) -> None:
    subject.config = config
    if config.name and config.name != subject.name:
        subject.add_rule(
            f"unexpected directory name '{subject.name}' for model '{config.name}', directory name"
            " must equal model name"
        )
        config.name = subject.name
    existing = list_versions(subject.folder)
    try:
        autofill(config, subject.name, first_version_files(subject.folder, existing))
    except ServerError as error:
        subject.add_rule(str(error))
        return
    _judge_backend(subject, config)
    # The groups as they are written: normalisation gives them kinds and devices.
    normalize(config, gpu_count=gpu_count)
    done: set[Rule] = {backend_is_known}
    if config.backend and config.backend not in BACKENDS:
        done.add(platform_fits_backend)  # one mistake is told once
    if config.platform != ENSEMBLE_PLATFORM:
        done.add(ensemble_leaves_out_what_steps_decide)  # defaults of other models stand there
    for rule in EARLY_RULES:
        if rule not in done:
            for message in rule(config):
                subject.add_rule(message)
    _judge_instances(subject, config, gpu_count)


def _judge_backend(subject: Subject, config: ModelConfig) -> None:
    for message in backend_is_known(config):
        subject.add_rule(message)
    backend = config.backend
    if not backend or backend in BACKENDS or config.platform == ENSEMBLE_PLATFORM:
        return
    given = ("backend",) if subject.text.has(("backend",)) else ("platform",)
    of_triton = any(backend == one.backend for one in FORMATS)
    near = None if of_triton else did_you_mean(backend, BACKENDS)
    near = near or next((name for name in BACKENDS if name.startswith(backend.lower())), None)
    there = ", ".join(BACKENDS)
    wanted = f"Did you mean '{near}'?" if near else f"this server has {there}"
    edits = subject.text.setting(("backend",), f'"{near}"') if near else ()
    subject.add(given, f"unable to find backend library for backend '{backend}'", wanted, edits)


def _judge_instances(subject: Subject, config: ModelConfig, gpu_count: int) -> None:
    on_cpu = {
        f"instance group {group.name} of model {config.name}"
        for group in config.instance_group
        if group.kind != ModelInstanceGroup.KIND_GPU  # whose fault is to name GPUs at all
    }
    for message in instance_groups_are_possible(config, gpu_count=gpu_count):
        lacks = "no GPUs are available" in message or "unsupported gpu id" in message
        if "unsupported gpu id" in message and message.partition(" specifies ")[0] in on_cpu:
            continue
        if lacks and gpu_count == 0:
            # The machine that checks need not be the one that serves.
            subject.needs = "a GPU, which this machine has not"
            subject.add_rule(message, severity=Severity.WARNING)
        else:
            subject.add_rule(message)


def judge_tensors(subject: Subject, config: ModelConfig) -> None:
    """What can be said when inputs and outputs are known."""
    subject.finished = config
    for rule in LATE_RULES:
        for message in rule(config):
            subject.add_rule(message)
    if not subject.is_sound:
        subject.finished = None
