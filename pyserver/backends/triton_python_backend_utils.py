"""The module that Triton's Python models import: `import triton_python_backend_utils as pb_utils`.

The instance process puts it into `sys.modules` under that name. Its classes for tensors, requests
and responses are native (csrc/bindings); the rest is here.
"""

from __future__ import annotations

import enum
import logging
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from pyserver._core import (
    TRITONSERVER_MEMORY_CPU,
    TRITONSERVER_MEMORY_GPU,
    InferenceRequest,
    InferenceResponse,
    InferenceResponseSender,
    InferenceTrace,
    MemoryType,
    PreferredMemory,
    ResponseIterator,
    Tensor,
    TritonError,
    TritonModelException,
    get_input_tensor_by_name,
    get_output_tensor_by_name,
)
from pyserver.backends.python_metrics import Metric, MetricFamily, MetricKind
from pyserver.backends.python_model_config import ModelConfig
from pyserver.backends.python_server import is_model_ready, load_model, unload_model
from pyserver.datatype import DATATYPES

__all__ = [
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_END",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_START",
    "TRITONSERVER_REQUEST_RELEASE_ALL",
    "TRITONSERVER_REQUEST_RELEASE_RESCHEDULE",
    "TRITONSERVER_RESPONSE_COMPLETE_FINAL",
    "TRITON_STRING_TO_NUMPY",
    "InferenceRequest",
    "InferenceResponse",
    "InferenceResponseSender",
    "InferenceTrace",
    "LogLevel",
    "Logger",
    "MemoryType",
    "Metric",
    "MetricFamily",
    "MetricKind",
    "ModelConfig",
    "PreferredMemory",
    "ResponseIterator",
    "Tensor",
    "TritonError",
    "TritonModelException",
    "deserialize_bytes_tensor",
    "get_input_config_by_name",
    "get_input_tensor_by_name",
    "get_model_dir",
    "get_output_config_by_name",
    "get_output_tensor_by_name",
    "is_model_ready",
    "load_model",
    "numpy_to_triton_type",
    "serialize_byte_tensor",
    "triton_string_to_numpy",
    "triton_to_numpy_type",
    "unload_model",
    "using_decoupled_model_transaction_policy",
]

# Error texts name their types.
for _kind in (InferenceRequest, InferenceResponse, InferenceResponseSender, Tensor, TritonError):
    _kind.__module__ = "c_python_backend_utils"

TRITONSERVER_REQUEST_FLAG_SEQUENCE_START: Final = 1
TRITONSERVER_REQUEST_FLAG_SEQUENCE_END: Final = 2
TRITONSERVER_RESPONSE_COMPLETE_FINAL: Final = 1
TRITONSERVER_REQUEST_RELEASE_ALL: Final = 1
TRITONSERVER_REQUEST_RELEASE_RESCHEDULE: Final = 2

# numpy's scalar types, as in Triton: BYTES is object, BF16 is not there.
_NUMPY_TYPES: Final[Mapping[int, type]] = MappingProxyType(
    {row.number: np.dtype(row.numpy_name).type for row in DATATYPES if row.numpy_name is not None}
)
TRITON_STRING_TO_NUMPY: Final[Mapping[str, type]] = MappingProxyType(
    {row.config_name: _NUMPY_TYPES[row.number] for row in DATATYPES if row.number in _NUMPY_TYPES}
    | {"TYPE_BOOL": bool}  # Python's, as there
)
_TRITON_TYPES: Final[Mapping[type, int]] = MappingProxyType(
    {kind: number for number, kind in _NUMPY_TYPES.items()}
    | {np.bytes_: next(row.number for row in DATATYPES if row.wire_name == "BYTES")}
)
_PREFIX: Final = struct.Struct("<I")

# The folder of the model that this process serves: Triton's API asks for it without saying whose.
_model_dir = ""


def set_model_dir(path: str) -> None:
    """For the backend: called once, before the model is imported."""
    global _model_dir
    _model_dir = path


def get_model_dir() -> str:
    """The folder of the model file that is being served: `<repository>/<model>/<version>`."""
    return _model_dir


class LogLevel(enum.IntEnum):
    """Of `Logger.log`; the numbers are those of the logging module."""

    INFO = logging.INFO
    WARNING = logging.WARNING
    ERROR = logging.ERROR
    VERBOSE = logging.DEBUG


_Level: TypeAlias = LogLevel


class Logger:
    """Writes to the server's log, with the caller's file and line."""

    LogLevel: Final = LogLevel
    INFO: Final = LogLevel.INFO
    WARNING: Final = LogLevel.WARNING
    ERROR: Final = LogLevel.ERROR
    VERBOSE: Final = LogLevel.VERBOSE
    _log: Final = logging.getLogger("pyserver.model")

    @classmethod
    def log(cls, message: str, level: _Level = LogLevel.INFO) -> None:
        """Verbose messages are seen with --log-verbose=1 or more."""
        if not isinstance(level, LogLevel):
            raise TypeError(f"level must be a LogLevel, found type {type(level)}")
        cls._log.log(level, "%s", message, stacklevel=2)

    @classmethod
    def log_info(cls, message: str) -> None:
        cls._log.info("%s", message, stacklevel=2)

    @classmethod
    def log_warn(cls, message: str) -> None:
        cls._log.warning("%s", message, stacklevel=2)

    @classmethod
    def log_error(cls, message: str) -> None:
        cls._log.error("%s", message, stacklevel=2)

    @classmethod
    def log_verbose(cls, message: str) -> None:
        cls._log.debug("%s", message, stacklevel=2)


def get_input_config_by_name(model_config: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The entry of `input` with that name, or None."""
    return _config_by_name(model_config, "input", name)


def get_output_config_by_name(model_config: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The entry of `output` with that name, or None."""
    return _config_by_name(model_config, "output", name)


def _config_by_name(
    model_config: Mapping[str, Any], section: str, name: str
) -> dict[str, Any] | None:
    return next((one for one in model_config.get(section, []) if one["name"] == name), None)


def using_decoupled_model_transaction_policy(model_config: Mapping[str, Any]) -> bool:
    """Whether the model may send any number of responses to a request."""
    return bool(model_config.get("model_transaction_policy", {}).get("decoupled", False))


def triton_to_numpy_type(data_type: int) -> type | None:
    """numpy's scalar type of a datatype number; None where there is none, as for BF16."""
    return _NUMPY_TYPES.get(int(data_type))


def numpy_to_triton_type(data_type: npt.DTypeLike) -> int | None:
    """The datatype number of a numpy type; None where there is none."""
    return _TRITON_TYPES.get(np.dtype(data_type).type)


def triton_string_to_numpy(triton_type_string: str) -> type:
    """numpy's scalar type of a config's `TYPE_...`; KeyError where there is none."""
    return TRITON_STRING_TO_NUMPY[triton_type_string]


def serialize_byte_tensor(input_tensor: npt.NDArray[Any]) -> bytes | tuple[()] | None:
    """An array of bytes or text in wire form: each element's length (u32, little-endian) and bytes.

    As Triton's: an empty tuple for an empty array, None for other datatypes.
    """
    if input_tensor.size == 0:
        return ()
    if input_tensor.dtype.type not in (np.object_, np.bytes_):
        return None
    parts: list[bytes] = []
    for element in input_tensor.ravel(order="C"):
        data = element if isinstance(element, bytes) else str(element).encode("utf-8")
        parts += (_PREFIX.pack(len(data)), data)
    return b"".join(parts)


def deserialize_bytes_tensor(encoded_tensor: bytes) -> npt.NDArray[np.object_]:
    """The elements of a BYTES tensor in wire form, as a 1-D object array of bytes."""
    elements: list[bytes] = []
    at = 0
    while at < len(encoded_tensor):
        (length,) = _PREFIX.unpack_from(encoded_tensor, at)
        at += _PREFIX.size
        if length > len(encoded_tensor) - at:
            raise ValueError("the bytes end within an element")
        elements.append(bytes(encoded_tensor[at : at + length]))
        at += length
    made = np.empty([len(elements)], dtype=np.object_)
    made[:] = elements
    return made
