"""A load request's own config and files, which take the place of what lies in the repository."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pyserver.beneath import PRIVATE, LeadsOut, write_beneath
from pyserver.errors import InvalidArgumentError

FILE_PREFIX: Final = "file:"


@dataclass(frozen=True, slots=True)
class LoadOverride:
    """`config` is protobuf JSON; `files` are contents by path below the model's folder."""

    config: str
    files: Mapping[str, bytes] = field(default_factory=dict)


def load_override(parameters: Mapping[str, str | bytes]) -> LoadOverride | None:
    """The override that a load request's parameters ask for; None: there is none."""
    config: str | None = None
    files: dict[str, bytes] = {}
    for name, value in parameters.items():
        if name == "config" and isinstance(value, str):
            config = value
        elif name.startswith(FILE_PREFIX) and isinstance(value, bytes):
            files[name.removeprefix(FILE_PREFIX)] = value
        else:
            raise InvalidArgumentError(f"unrecognized load parameter '{name}'.")
    if files and config is None:
        raise InvalidArgumentError(
            "Load parameter 'config' must be specified for model file override"
        )
    return LoadOverride(config, files) if config is not None else None


def write_override(model_name: str, files: Mapping[str, bytes]) -> Path:
    """Builds a model folder of these files alone, somewhere temporary; the caller removes it.

    Raises InvalidArgumentError for a path that leads out of the folder, OSError when a file cannot
    be written.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{PRIVATE}override-"))
    try:
        for name, content in files.items():
            write_beneath(folder, name, content)
    except LeadsOut as error:
        remove_override(folder)
        raise InvalidArgumentError(
            f"failed to load '{model_name}', the override file path '{name}' must remain inside the"
            " model directory"
        ) from error
    except BaseException:
        remove_override(folder)
        raise
    return folder


def remove_override(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
