"""ONNX Runtime sessions: options from the model config, execution providers, and the model's own
signature.

Imports onnxruntime only when a session is made, and says which extra is missing if it cannot.
"""

from __future__ import annotations

import importlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyserver import datatype
from pyserver.backends.interface import ModelInfo
from pyserver.errors import InternalError, InvalidArgumentError, UnavailableError

# The wire datatype and the number of onnx's TensorProto.DataType for each tensor type.
_ELEMENTS: Final[Mapping[str, tuple[str, int]]] = {
    "float": ("FP32", 1),
    "uint8": ("UINT8", 2),
    "int8": ("INT8", 3),
    "uint16": ("UINT16", 4),
    "int16": ("INT16", 5),
    "int32": ("INT32", 6),
    "int64": ("INT64", 7),
    "string": ("BYTES", 8),
    "bool": ("BOOL", 9),
    "float16": ("FP16", 10),
    "double": ("FP64", 11),
    "uint32": ("UINT32", 12),
    "uint64": ("UINT64", 13),
    "bfloat16": ("BF16", 16),
}
WIRE_BY_ONNX: Final[Mapping[int, str]] = {number: wire for wire, number in _ELEMENTS.values()}

_CODED_ERROR = re.compile(r"\[ONNXRuntimeError\] : (\d+) : \w+ : (.*)", re.DOTALL)
# A run with I/O binding fails without the code; these are its texts for code 2, invalid argument.
_ARGUMENT_ERRORS = ("Got invalid dimensions", "Invalid rank", "Unexpected input data type")
_BOUND_RUN = "Error in execution: "


@dataclass(frozen=True, slots=True)
class OnnxTensor:
    """An input or output of the model file. `dims` has -1 where the file has a symbol.

    A scalar has no dims. Configs cannot say that without batching, so that a scalar is one element
    to clients and to the config, `dims: [1]`.
    """

    name: str
    wire_datatype: str
    onnx_type: int
    dims: tuple[int, ...]

    @property
    def is_scalar(self) -> bool:
        return not self.dims

    def as_signature(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.wire_datatype, "dims": list(self.dims)}


@dataclass(frozen=True, slots=True)
class Device:
    """Where a session runs: KIND_GPU with the GPU's number, or KIND_CPU with 0."""

    kind: str
    number: int


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded model: `native` is onnxruntime's InferenceSession."""

    native: Any
    inputs: tuple[OnnxTensor, ...]
    outputs: tuple[OnnxTensor, ...]


def error_text(error: Exception) -> str:
    """Triton's wording: `onnx runtime error <n>: <ONNX Runtime's text>`."""
    found = _CODED_ERROR.match(str(error))
    if found is not None:
        return f"onnx runtime error {found[1]}: {found[2]}"
    text = str(error).removeprefix(_BOUND_RUN)
    return f"onnx runtime error {2 if text.startswith(_ARGUMENT_ERRORS) else 1}: {text}"


def import_onnxruntime(model: ModelInfo) -> Any:
    """The framework, or UnavailableError with the way to get it."""
    try:
        return importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise UnavailableError(
            f"model '{model.name}' requires onnxruntime, which is not installed:"
            " pip install 'pyserver[onnx]'"
        ) from error


def open_session(model: ModelInfo, device: Device) -> Session:
    """Loads the model file. Raises a ServerError with ONNX Runtime's text."""
    ort = import_onnxruntime(model)
    path = model.version_file(model.config.get("default_model_filename") or "model.onnx")
    if path.is_dir():
        path = path / "model.onnx"
    if not path.exists():
        raise UnavailableError(f"unable to find '{path}' for model '{model.name}'")
    providers = _providers(ort, model, device)
    try:
        native = ort.InferenceSession(str(path), _options(ort, model), providers=providers)
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise InternalError(f"failed to load model '{model.name}': {error_text(error)}") from error
    return Session(
        native,
        tuple(_tensor(model, argument) for argument in native.get_inputs()),
        tuple(_tensor(model, argument) for argument in native.get_outputs()),
    )


def _tensor(model: ModelInfo, argument: Any) -> OnnxTensor:
    found = re.fullmatch(r"tensor\((\w+)\)", argument.type)
    element = _ELEMENTS.get(found[1]) if found else None
    if element is None:
        raise UnavailableError(
            f"model '{model.name}': '{argument.name}' is a {argument.type}; only tensors of"
            " Triton's datatypes can be served"
        )
    dims = tuple(dim if isinstance(dim, int) and dim >= 0 else -1 for dim in argument.shape)
    return OnnxTensor(argument.name, element[0], element[1], dims)


def _options(ort: Any, model: ModelInfo) -> Any:
    options = ort.SessionOptions()
    graph_level = str(model.config.get("optimization", {}).get("graph", {}).get("level", 0))
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = {
        "-1": levels.ORT_ENABLE_BASIC,
        "0": levels.ORT_ENABLE_ALL,
        "1": levels.ORT_ENABLE_EXTENDED,
        "2": levels.ORT_DISABLE_ALL,
    }.get(graph_level, levels.ORT_ENABLE_ALL)
    options.intra_op_num_threads = _integer(model, "intra_op_thread_count", default_threads(model))
    options.inter_op_num_threads = _integer(model, "inter_op_thread_count", 1)
    if _integer(model, "execution_mode", 0) == 1:
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    options.enable_cpu_mem_arena = bool(_integer(model, "enable_mem_arena", 1))
    options.enable_mem_pattern = bool(_integer(model, "enable_mem_pattern", 1))
    # A pool that spins between requests takes the cores that frontends and other instances need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    key = "session.use_device_allocator_for_initializers"
    if _integer(model, key, 0):
        options.add_session_config_entry(key, "1")
    for library in model.config.get("model_operations", {}).get("op_library_filename", []):
        options.register_custom_ops_library(str(model.model_file(library)))
    options.log_severity_level = 3
    return options


def default_threads(model: ModelInfo) -> int:
    """The cores that we may use, divided among the instances that would run at once."""
    return max(1, len(os.sched_getaffinity(0)) // model.instance_count)


def shrinks_arena(model: ModelInfo) -> str | None:
    """The devices whose arena is shrunk after each run, e.g. "cpu:0"; None: no."""
    return model.parameter("memory.enable_memory_arena_shrinkage")


def _integer(model: ModelInfo, key: str, default: int) -> int:
    """A parameter of the model, or of the backend, or the default."""
    text = model.parameter(key)
    if text is None:
        text = model.backend_config.get(key)
    if text is None or text == "":
        return default
    try:
        return int(text)
    except ValueError:
        raise InvalidArgumentError(
            f"failed to parse parameter '{key}' of model '{model.name}' as an integer, got '{text}'"
        ) from None


def _providers(ort: Any, model: ModelInfo, device: Device) -> list[Any]:
    """Execution providers in order of preference; the CPU is always the last."""
    wanted: list[tuple[str, dict[str, str]]] = []
    accelerators = model.config.get("optimization", {}).get("execution_accelerators", {})
    if device.kind == "KIND_GPU":
        for accelerator in accelerators.get("gpu_execution_accelerator", []):
            wanted.append(_gpu_provider(model, accelerator, device))
        if not any(name == "CUDAExecutionProvider" for name, _ in wanted):
            wanted.append(("CUDAExecutionProvider", {"device_id": str(device.number)}))
    for accelerator in accelerators.get("cpu_execution_accelerator", []):
        if accelerator["name"] != "openvino":
            raise InvalidArgumentError(
                f"unknown Execution Accelerator '{accelerator['name']}' is requested for model"
                f" '{model.name}'"
            )
        wanted.append(("OpenVINOExecutionProvider", {"device_type": "CPU"}))
    available = ort.get_available_providers()
    for name, _ in wanted:
        if name not in available:
            raise UnavailableError(
                f"model '{model.name}' needs ONNX Runtime's {name}, which the installed onnxruntime"
                f" does not have (it has {', '.join(available)}); use KIND_CPU instances, or"
                " install an onnxruntime package built with it"
            )
    return [*wanted, "CPUExecutionProvider"]


def _gpu_provider(
    model: ModelInfo, accelerator: Mapping[str, Any], device: Device
) -> tuple[str, dict[str, str]]:
    options = {"device_id": str(device.number)}
    given: Mapping[str, str] = accelerator.get("parameters", {})
    if accelerator["name"] == "cuda":
        return "CUDAExecutionProvider", options | dict(given)
    if accelerator["name"] != "tensorrt":
        raise InvalidArgumentError(
            f"unknown Execution Accelerator '{accelerator['name']}' is requested for model"
            f" '{model.name}'"
        )
    for key, value in given.items():
        options |= _tensorrt_option(model, key, value)
    return "TensorrtExecutionProvider", options


def _tensorrt_option(model: ModelInfo, key: str, value: str) -> dict[str, str]:
    """Triton's own names for three options; all others are ONNX Runtime's."""
    if key == "precision_mode":
        modes = {"FP32": {}, "FP16": {"trt_fp16_enable": "1"}, "INT8": {"trt_int8_enable": "1"}}
        modes["BF16"] = {"trt_bf16_enable": "1"}
        if value not in modes:
            raise InvalidArgumentError(
                f"unsupported precision mode '{value}' is requested for model '{model.name}'"
            )
        return modes[value]
    if key == "max_workspace_size_bytes":
        return {"trt_max_workspace_size": value}
    if key in ("int8_calibration_table_name", "int8_use_native_calibration_table"):
        return {f"trt_{key}": value}
    return {key: value}


def check_config(model: ModelInfo, session: Session) -> None:
    """Whether the config's inputs, outputs and states are the model's; Triton's texts."""
    config = model.config
    made = [name for one in config.get("batch_input", []) for name in one["target_name"]]
    expected = len(config["input"]) + len(model.control_names) + len(model.states) + len(made)
    if expected < len(session.inputs):
        raise InvalidArgumentError(
            f"unable to load model '{model.name}', configuration expects {expected} inputs,"
            f" model provides {len(session.inputs)}"
        )
    inputs = {tensor.name: tensor for tensor in session.inputs}
    outputs = {tensor.name: tensor for tensor in session.outputs}
    for tensor in config["input"]:
        known = _known("input", tensor["name"], inputs)
        _check_datatype(model, "input", tensor, known)
        if not (tensor.get("allow_ragged_batch") and model.max_batch_size > 0):
            _check_dims(model, tensor["name"], backend_dims(model, tensor), known)
    for tensor in config["output"]:
        known = _known("output", tensor["name"], outputs)
        _check_datatype(model, "output", tensor, known)
        if tensor["name"] not in _split_by_shape(model):
            _check_dims(model, tensor["name"], backend_dims(model, tensor), known)
    for name in made:
        _known("input", name, inputs)
    for state in model.states:
        for what, key, tensors in (
            ("input", "input_name", inputs),
            ("output", "output_name", outputs),
        ):
            known = _known(what, state[key], tensors)
            _check_datatype(model, f"state {what}", {**state, "name": state[key]}, known)
            _check_dims(model, state[key], batched_dims(model, state["dims"]), known)


def _split_by_shape(model: ModelInfo) -> set[str]:
    made = model.config.get("batch_output", [])
    return {name for one in made for name in one["target_name"]}


def _known(what: str, name: str, tensors: Mapping[str, OnnxTensor]) -> OnnxTensor:
    known = tensors.get(name)
    if known is None:
        names = ", ".join(sorted(tensors))
        raise InvalidArgumentError(
            f"unexpected inference {what} '{name}', allowed {what}s are: {names}"
        )
    return known


def _check_datatype(
    model: ModelInfo, what: str, tensor: Mapping[str, Any], known: OnnxTensor
) -> None:
    provides = datatype.BY_WIRE_NAME[known.wire_datatype].config_name
    if tensor["data_type"] != provides:
        raise InvalidArgumentError(
            f"unable to load model '{model.name}', configuration expects datatype"
            f" {tensor['data_type']} for {what} '{tensor['name']}', model provides {provides}"
        )


def _check_dims(model: ModelInfo, name: str, dims: list[int], known: OnnxTensor) -> None:
    if known.is_scalar:
        fits = model.max_batch_size == 0 and math.prod(dims) == 1
    else:
        fits = len(dims) == len(known.dims) and all(
            mine == theirs or -1 in (mine, theirs)
            for mine, theirs in zip(dims, known.dims, strict=True)
        )
    if not fits:
        raise InvalidArgumentError(
            f"model '{model.name}', tensor '{name}': the model expects"
            f" {len(known.dims)} dimensions (shape {list(known.dims)}) but the model configuration"
            f" specifies {len(dims)} dimensions (shape {dims}"
            f"{', an initial batch dimension included' if model.max_batch_size > 0 else ''})"
        )


def backend_dims(model: ModelInfo, tensor: Mapping[str, Any]) -> list[int]:
    """The shape that the model sees: `reshape` if there is one, with the batch dimension."""
    reshape = tensor.get("reshape")
    return batched_dims(model, reshape["shape"] if reshape is not None else tensor["dims"])


def batched_dims(model: ModelInfo, dims: Sequence[int]) -> list[int]:
    """`dims` behind the batch dimension, where the model batches."""
    return [-1, *dims] if model.max_batch_size > 0 else list(dims)
