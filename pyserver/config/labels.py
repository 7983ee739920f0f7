"""Reads the class names of an output's `label_filename`."""

from __future__ import annotations

from pathlib import Path

from pyserver.config.model_config_pb2 import ModelConfig, ModelOutput
from pyserver.errors import InternalError, InvalidArgumentError


def read_labels(config: ModelConfig, output: ModelOutput, model_dir: Path) -> tuple[str, ...]:
    """One name a line, by class index; empty where the output has no label file.

    Raises InvalidArgumentError for a file outside the model's directory, InternalError for one that
    cannot be read.
    """
    if not output.label_filename:
        return ()
    path = model_dir / output.label_filename
    if not path.resolve().is_relative_to(model_dir.resolve()):
        raise InvalidArgumentError(
            f"label file '{output.label_filename}' of output '{output.name}' for model"
            f" '{config.name}' must be inside the model directory"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InternalError(f"failed to open text file for read {path}: {reason}") from error
    return tuple(text.splitlines())
