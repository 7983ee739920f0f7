"""Reads the class names of an output's `label_filename`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pyserver.beneath import LeadsOut, Refused, read_beneath
from pyserver.config.model_config_pb2 import ModelConfig, ModelOutput
from pyserver.errors import InternalError, InvalidArgumentError

_MOST_BYTES: Final = 256 << 20


def read_labels(config: ModelConfig, output: ModelOutput, model_dir: Path) -> tuple[str, ...]:
    """One name a line, by class index; empty where the output has no label file.

    Raises InvalidArgumentError for a file outside the model's directory, InternalError for one that
    cannot be read.
    """
    if not output.label_filename:
        return ()
    name = output.label_filename
    path = model_dir / name
    try:
        text = read_beneath(model_dir, name, most_bytes=_MOST_BYTES).decode("utf-8")
    except LeadsOut as error:
        raise InvalidArgumentError(
            f"label file '{name}' of output '{output.name}' for model"
            f" '{config.name}' must be inside the model directory: it {error}"
        ) from error
    except OSError as error:
        raise InternalError(
            f"failed to open text file for read {path}: {error.strerror}"
        ) from error
    except Refused as error:
        raise InternalError(f"failed to open text file for read {path}: it {error}") from error
    except UnicodeDecodeError as error:
        raise InternalError(f"failed to open text file for read {path}: not UTF-8 text") from error
    return tuple(text.splitlines())
