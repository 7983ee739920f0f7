"""What lies in a model's folder beside its config: versions, model files, labels, warm-up files;
and fields that do nothing."""

from __future__ import annotations

import re
from typing import Final

from pyserver.backends import BACKENDS
from pyserver.check.config_text import ConfigPath
from pyserver.check.findings import Severity
from pyserver.check.subject import Subject
from pyserver.config.autofill import ENSEMBLE_PLATFORM
from pyserver.config.labels import read_labels
from pyserver.config.limits import PARAMETERS
from pyserver.config.load import CONFIG_FILE
from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.config.parse import did_you_mean
from pyserver.config.versions import list_versions, select_versions
from pyserver.errors import ServerError

_WARMUP: Final = "warmup"

# Fields that are read and change nothing here: path → why, and what to do.
_IDLE: Final[tuple[tuple[ConfigPath, str, str], ...]] = (
    (("cc_model_filenames",), "has no effect", "use default_model_filename"),
    (("metric_tags",), "has no effect", "remove it"),
    (("runtime",), "has no effect", "backends here are named by backend alone; remove it"),
    (("optimization", "priority"), "has no effect", "remove it"),
    (("optimization", "cuda"), "has an effect with TensorRT only", "remove it"),
    (("optimization", "gather_kernel_buffer_threshold"), "has no effect", "remove it"),
)


def look_at_folder(subject: Subject) -> None:
    """Everything that can be told of the folder before the model is looked at."""
    _names(subject)
    config = subject.config
    if config is None:
        return
    _versions(subject, config)
    _files(subject, config)
    _labels(subject, config)
    _warm_up(subject, config)
    _idle_fields(subject, config)
    _parameters(subject, config)


def _warn(subject: Subject, path: ConfigPath, problem: str, wanted: str) -> None:
    subject.add(path, problem, wanted, severity=Severity.WARNING)


def _names(subject: Subject) -> None:
    """Names that look as if they were meant to be something."""
    for entry in sorted(subject.folder.iterdir()):
        if entry.is_dir() and re.fullmatch(r"(v|version[-_]?)?0*\d+", entry.name, re.IGNORECASE):
            if entry.name.isdigit() and (entry.name == "0" or entry.name[0] != "0"):
                continue
            number = re.sub(r"\D", "", entry.name).lstrip("0") or "0"
            subject.add_file(
                entry,
                f"folder '{entry.name}' is not served as a version",
                f"rename it to '{number}': a version is a number without letters and leading zeros",
                severity=Severity.WARNING,
            )
    if not (subject.folder / CONFIG_FILE).exists():
        for entry in sorted(subject.folder.glob("*.*")):
            if entry.is_file() and did_you_mean(entry.name.lower(), [CONFIG_FILE]):
                subject.add_file(
                    entry,
                    f"'{entry.name}' is not read: the model has no {CONFIG_FILE}",
                    f"rename it to {CONFIG_FILE}",
                    severity=Severity.WARNING,
                )


def _versions(subject: Subject, config: ModelConfig) -> None:
    existing = list_versions(subject.folder)
    policy = config.version_policy
    served = select_versions(policy, existing, model_name=subject.name)
    subject.versions = tuple(served)
    if not existing:
        subject.add_file(
            subject.folder,
            "no version: at least one version must be available under the version policy of model"
            f" '{subject.name}'",
            f"make the folder {subject.folder / '1'} and put the model's file into it",
        )
        return
    if not served:
        subject.add(
            ("version_policy",),
            "at least one version must be available under the version policy of model"
            f" '{subject.name}'",
            f"the folders have {', '.join(map(str, existing))}: use one of these, or latest",
            subject.text.setting(("version_policy", "specific", "versions"), f"[ {existing[-1]} ]")
            if policy.HasField("specific")
            else (),
        )
        return
    for index, version in enumerate(policy.specific.versions):
        if version not in existing:
            _warn(
                subject,
                ("version_policy", "specific", "versions", index),
                f"version {version} has no folder",
                f"remove it, or make the folder {subject.folder / str(version)}",
            )
    for version in existing:
        if version not in served:
            policy_text = "version_policy: { all { } }"
            subject.add_file(
                subject.folder / str(version),
                f"version {version} is not served by the version policy",
                f"remove the folder, or serve it too: {policy_text}",
                severity=Severity.WARNING,
            )


def _files(subject: Subject, config: ModelConfig) -> None:
    """The newest version's file is the backend's to miss; those of others are not opened."""
    if config.backend not in ("python", "onnxruntime"):
        return
    for version in subject.versions:
        file = subject.folder / str(version) / config.default_model_filename
        if not file.exists():
            present = sorted(entry.name for entry in file.parent.iterdir())
            near = did_you_mean(file.name, present)
            subject.add_file(
                file,
                f"the model's file is missing: there is no '{file.name}' in version {version}",
                f"Did you mean '{near}'? Rename it, or set default_model_filename: \"{near}\""
                if near
                else "put it there, or name the file that is there with default_model_filename",
            )


def _labels(subject: Subject, config: ModelConfig) -> None:
    for index, output in enumerate(config.output):
        path: ConfigPath = ("output", index, "label_filename")
        try:
            labels = read_labels(config, output, subject.folder)
        except ServerError as error:
            near = did_you_mean(
                output.label_filename, sorted(one.name for one in subject.folder.iterdir())
            )
            wanted = "put the file there, one name a line"
            if near:
                wanted = f"Did you mean '{near}'?"
            elif "must be inside" in str(error):
                wanted = "put the file into the model's own folder"
            edits = subject.text.setting(path, f'"{near}"') if near else ()
            subject.add(path, str(error), wanted, edits)
            continue
        classes = output.dims[-1] if output.dims else -1
        if labels and 0 < classes != len(labels):
            _warn(
                subject,
                path,
                f"'{output.label_filename}' has {len(labels)} labels, and output '{output.name}'"
                f" has {classes} classes",
                "give one line for each class",
            )


def _warm_up(subject: Subject, config: ModelConfig) -> None:
    for index, sample in enumerate(config.model_warmup):
        for key, given in sample.inputs.items():
            path: ConfigPath = ("model_warmup", index, "inputs", key, "value")
            if given.input_data_file:
                file = subject.folder / _WARMUP / given.input_data_file
                if not file.is_file():
                    subject.add(
                        (*path, "input_data_file"),
                        f"warm-up sample '{sample.name}' names a file that is missing: {file}",
                        "put it there, or use zero_data: true",
                        (
                            *subject.text.removing((*path, "input_data_file")),
                            *subject.text.adding(
                                subject.text.find((*path, "input_data_file")).parent
                                or subject.text.root,
                                "zero_data: true",
                            ),
                        ),
                    )
            elif given.WhichOneof("input_data_type") is None:
                subject.add(
                    path,
                    f"input '{key}' of warm-up sample '{sample.name}' has no data",
                    "add zero_data: true, random_data: true or input_data_file",
                    subject.text.adding(subject.text.find(path), "zero_data: true"),
                )
            if -1 in given.dims:
                subject.add(
                    (*path, "dims"),
                    f"input '{key}' of warm-up sample '{sample.name}' has a variable size",
                    "give every dimension its size",
                    subject.text.setting(
                        (*path, "dims"), str([1 if d == -1 else d for d in given.dims])
                    ),
                )
        if sample.batch_size == 0:
            _warn(
                subject,
                ("model_warmup", index),
                f"warm-up sample '{sample.name}' has batch_size 0 and is skipped",
                "add batch_size: 1",
            )
        elif sample.batch_size > max(1, config.max_batch_size):
            path = ("model_warmup", index, "batch_size")
            most = max(1, config.max_batch_size)
            subject.add(
                path,
                f"batch size {sample.batch_size} of warm-up sample '{sample.name}' is above the"
                " model's max_batch_size",
                f"at most {most}",
                subject.text.setting(path, str(most)),
            )


def _idle_fields(subject: Subject, config: ModelConfig) -> None:
    for path, why, wanted in _IDLE:
        if subject.text.has(path):
            _warn(subject, path, f"'{path[-1]}' {why}", wanted)
    batching: ConfigPath = ("dynamic_batching",)
    unbatched = config.max_batch_size == 0 and subject.text.has(("max_batch_size",))
    if unbatched and config.platform != ENSEMBLE_PLATFORM and subject.text.has(batching):
        _warn(
            subject,
            batching,
            "'dynamic_batching' has no effect without a max_batch_size",
            "give a max_batch_size above 0, or remove it",
        )
    if config.platform == ENSEMBLE_PLATFORM and subject.text.has(batching):
        _warn(subject, batching, "an ensemble is not batched", "batch the models of its steps")
    for index, group in enumerate(config.instance_group):
        if group.host_policy:
            _warn(
                subject,
                ("instance_group", index, "host_policy"),
                "'host_policy' has no effect in this version",
                "remove it",
            )
    if config.backend != "onnxruntime" and subject.text.has(("model_operations",)):
        _warn(
            subject,
            ("model_operations",),
            f"'model_operations' has no effect with backend '{config.backend}'",
            "remove it",
        )


def _parameters(subject: Subject, config: ModelConfig) -> None:
    info = BACKENDS.get(config.backend)
    if info is None:
        return
    for key in sorted(config.parameters):
        ours = (*info.parameters, *PARAMETERS)
        near = did_you_mean(key, ours)
        if key in ours or (info.free_parameters and near is None):
            continue
        path: ConfigPath = ("parameters", key, "key")
        known = ", ".join(ours)
        subject.add(
            path,
            f"backend '{config.backend}' knows no parameter '{key}'",
            f"Did you mean '{near}'?" if near else f"it has {known}",
            subject.text.setting(path, f'"{near}"') if near else (),
            severity=Severity.WARNING,
        )
