"""Fills in backend, platform and default file name of a configuration that leaves them out, from
the files that are there.

The table below is tried from top to bottom and the first row that fits wins, as in Triton
(core/src/model_config_utils.cc): a row fits by the configuration's backend, platform or default
file name, or, when it has none of these, by a file of that name in the model's first version
directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.errors import InvalidArgumentError

ENSEMBLE_PLATFORM = "ensemble"

# What may stand under the name: a file, a directory, or either.
_FILE = "file"
_DIRECTORY = "directory"
_EITHER = "either"


@dataclass(frozen=True, slots=True)
class ModelFormat:
    """One row: a backend, the platform that goes with it (empty: none is filled in), and its usual
    file."""

    backend: str
    platform: str
    filename: str
    kind: str = _FILE
    aliases: tuple[str, ...] = ()


FORMATS: tuple[ModelFormat, ...] = (
    ModelFormat("tensorflow", "tensorflow_savedmodel", "model.savedmodel", _DIRECTORY),
    ModelFormat("tensorflow", "tensorflow_graphdef", "model.graphdef"),
    ModelFormat("tensorrt", "tensorrt_plan", "model.plan"),
    ModelFormat("onnxruntime", "onnxruntime_onnx", "model.onnx", _EITHER),
    ModelFormat("openvino", "", "model.xml"),
    ModelFormat("pytorch", "pytorch_libtorch", "model.pt", aliases=("libtorch",)),
    ModelFormat("pytorch", "torch_aoti", "model.pt2"),
    ModelFormat("python", "", "model.py"),
)

# Backends whose platform, once filled in, must be one of these.
PLATFORMS: Mapping[str, tuple[str, ...]] = {
    "tensorflow": ("tensorflow_savedmodel", "tensorflow_graphdef"),
    "tensorrt": ("tensorrt_plan",),
    "onnxruntime": ("onnxruntime_onnx",),
    "pytorch": ("pytorch_libtorch", "torch_aoti"),
}


def autofill(config: ModelConfig, model_name: str, first_version: Mapping[str, bool]) -> None:
    """Completes name, backend, platform and default_model_filename of `config` in place.

    `first_version` lists the first version directory: name → whether it is a directory; empty if
    there is no version. Raises InvalidArgumentError where nothing tells the backend.
    """
    if not config.name:
        config.name = model_name
    if config.platform == ENSEMBLE_PLATFORM:
        return
    row = _detect(config, first_version)
    if row is not None:
        _fill(config, row)
    elif not config.backend and not config.platform and not config.default_model_filename:
        _fill_from_name(config, model_name)


def _detect(config: ModelConfig, listing: Mapping[str, bool]) -> ModelFormat | None:
    """The row that fits; with a backend given, one of its own rows: what the config says, then what
    files lie there."""
    rows = [row for row in FORMATS if row.backend == config.backend] if config.backend else FORMATS
    for row in rows:
        if _fits_by_word(config, row) or _fits_by_file(config, row, listing):
            return row
    # A backend and nothing else: its first format. TensorFlow's two are told apart by a word or a
    # file only.
    return rows[0] if config.backend not in ("", "tensorflow") and rows else None


def _fits_by_word(config: ModelConfig, row: ModelFormat) -> bool:
    if config.platform and config.platform in (row.platform, *row.aliases):
        return True
    return config.default_model_filename == row.filename


def _fits_by_file(config: ModelConfig, row: ModelFormat, listing: Mapping[str, bool]) -> bool:
    if config.platform or config.default_model_filename or row.filename not in listing:
        return False
    is_directory = listing[row.filename]
    return row.kind == _EITHER or is_directory == (row.kind == _DIRECTORY)


def _fill(config: ModelConfig, row: ModelFormat) -> None:
    if not config.backend:
        config.backend = row.backend
    if not config.platform or config.platform in row.aliases:
        config.platform = row.platform
    if not config.default_model_filename:
        config.default_model_filename = row.filename


def _fill_from_name(config: ModelConfig, model_name: str) -> None:
    """`anything.identity` is a model of backend `identity`: text behind the first dot."""
    _, dot, backend = model_name.partition(".")
    if not dot:
        raise InvalidArgumentError(
            f"Invalid model name: Could not determine backend for model '{model_name}' with no"
            " backend in model configuration. Expected model name of the form"
            " 'model.<backend_name>'."
        )
    config.backend = backend
    config.default_model_filename = f"model.{backend}"
