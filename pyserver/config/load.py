"""A model's directory → its configuration, in the three steps that pyserver/config/__init__.py
describes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyserver.config.autocomplete import complete
from pyserver.config.autofill import autofill
from pyserver.config.labels import read_labels
from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.config.normalize import normalize
from pyserver.config.parse import parse_json, parse_text
from pyserver.config.validate import EARLY_RULES, check
from pyserver.config.validate_instances import check_instance_groups
from pyserver.config.versions import list_versions, select_versions, served_of
from pyserver.errors import InternalError, InvalidArgumentError, NotFoundError

__all__ = ["LoadedConfig", "complete", "finish", "first_version_files", "load_config"]

CONFIG_FILE = "config.pbtxt"
CUSTOM_FOLDER = "configs"


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration before auto-complete, and what was seen beside it.

    `message` is normalised and has kept every rule that does not need the model's signature.
    `versions` are those that the version policy serves, ascending, at least one. `from_file` is
    False where there was no file and everything was detected. `first_version_files` are the names
    in the first version directory, sorted.
    """

    message: ModelConfig
    versions: tuple[int, ...]
    from_file: bool
    first_version_files: tuple[str, ...]


def load_config(
    model_name: str,
    model_dir: Path,
    *,
    config_name: str | None,
    gpu_count: int,
    auto_complete: bool = True,
    override: str | None = None,
) -> LoadedConfig:
    """Reads, completes from the files, normalises and checks the configuration in `model_dir`.

    `config_name` is `--model-config-name`: configs/<name>.pbtxt where it exists. `override` is a
    JSON configuration that replaces the file. Without `auto_complete` a missing file is an error.
    Raises InvalidArgumentError, NotFoundError (no such directory) and InternalError (a file that
    cannot be read).
    """
    if not model_dir.is_dir():
        raise NotFoundError(f"model '{model_name}' has no directory {model_dir}")
    existing = list_versions(model_dir)
    listing = first_version_files(model_dir, existing)
    message = _read(model_dir, config_name, auto_complete, override)
    from_file = message is not None
    config = message if message is not None else ModelConfig()
    autofill(config, model_name, listing)
    if config.name != model_name:
        raise InvalidArgumentError(
            f"unexpected directory name '{model_name}' for model '{config.name}', directory name"
            " must equal model name"
        )
    normalize(config, gpu_count=gpu_count)
    check(config, EARLY_RULES)
    versions = select_versions(config.version_policy, existing, model_name=model_name)
    if not versions:
        raise InvalidArgumentError(
            "at least one version must be available under the version policy of model"
            f" '{model_name}'"
        )
    return LoadedConfig(config, tuple(versions), from_file, tuple(sorted(listing)))


def versions_to_serve(
    model_dir: Path, *, config_name: str | None, override: str | None = None
) -> list[int]:
    """What the version policy serves of the version directories in `model_dir`, which may be empty
    yet. Raises what a config's text raises.
    """
    config = _read(model_dir, config_name, True, override) or ModelConfig()
    existing = list_versions(model_dir)
    if config.version_policy.WhichOneof("policy_choice") is None:
        return existing[-1:]  # Triton's default: the latest
    return served_of(config.version_policy, existing)


def finish(config: ModelConfig, *, gpu_count: int, model_dir: Path | None = None) -> ModelConfig:
    """A normalised copy that has kept every rule; with `model_dir`, its label files have been
    looked at as well.

    Raises InvalidArgumentError, or InternalError for a label file that cannot be read.
    """
    made = ModelConfig()
    made.CopyFrom(config)
    normalize(made, gpu_count=gpu_count)
    check(made)
    check_instance_groups(made, gpu_count=gpu_count)
    if model_dir is not None:
        for output in made.output:
            read_labels(made, output, model_dir)
    return made


def first_version_files(model_dir: Path, existing: list[int]) -> dict[str, bool]:
    """Name → is a directory, of the version directory whose name sorts first as text."""
    if not existing:
        return {}
    first = model_dir / min(str(version) for version in existing)
    return {entry.name: entry.is_dir() for entry in first.iterdir()}


def _read(
    model_dir: Path, config_name: str | None, auto_complete: bool, override: str | None
) -> ModelConfig | None:
    if override is not None:
        return parse_json(override)
    path = model_dir / CONFIG_FILE
    if config_name and (model_dir / CUSTOM_FOLDER / f"{config_name}.pbtxt").exists():
        path = model_dir / CUSTOM_FOLDER / f"{config_name}.pbtxt"
    if auto_complete and not path.exists():
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InternalError(
            f"failed to open text file for read {path}: {error.strerror}"
        ) from error
    return parse_text(content, source=str(path))
