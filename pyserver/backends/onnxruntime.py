"""The ONNX Runtime backend: one session for all instances of a version on a device.

Inputs are bound where they lie: the request's own memory, or the batch that was gathered. Outputs
whose shape the config tells are bound to shared memory and reach the client without a copy; others
are copied once. Models with string tensors go through numpy object arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pyserver import datatype
from pyserver.backends.interface import InstanceInfo, ModelInfo
from pyserver.backends.onnx_session import (
    WIRE_BY_ONNX,
    Device,
    OnnxTensor,
    Session,
    backend_dims,
    check_config,
    error_text,
    import_onnxruntime,
    open_session,
    shrinks_arena,
)
from pyserver.errors import InternalError, InvalidArgumentError, ServerError

if TYPE_CHECKING:
    from pyserver._core import Batch, Executor, OutputBuffer

_BYTES: Final = datatype.BY_WIRE_NAME["BYTES"].number


class OnnxRuntimeBackend:
    """Keeps the session that `describe` opened for `load`."""

    def __init__(self) -> None:
        self._sessions: dict[Device, Session] = {}

    def describe(self, model: ModelInfo) -> dict[str, Any] | None:
        has_inputs = model.config.get("input") or model.config.get("batch_input")
        if has_inputs and model.config.get("output"):
            import_onnxruntime(model)
            return None
        session = self._session(model, _first_device(model))
        return {
            "inputs": [tensor.as_signature() for tensor in session.inputs],
            "outputs": [tensor.as_signature() for tensor in session.outputs],
        }

    def load(self, model: ModelInfo) -> OnnxRuntimeModel:
        return OnnxRuntimeModel(model, self)

    def _session(self, model: ModelInfo, device: Device) -> Session:
        if device not in self._sessions:
            self._sessions[device] = open_session(model, device)
        return self._sessions[device]

    def session(self, model: ModelInfo, device: Device) -> Session:
        """The session of a device, checked against the final config."""
        session = self._session(model, device)
        check_config(model, session)
        return session


class OnnxRuntimeModel:
    """A version; its sessions by device."""

    def __init__(self, model: ModelInfo, backend: OnnxRuntimeBackend) -> None:
        self._model = model
        self._backend = backend

    def make_instance(self, info: InstanceInfo) -> OnnxRuntimeInstance:
        on_gpu = info.kind == "KIND_GPU"
        device = Device("KIND_GPU", info.device_id) if on_gpu else Device("KIND_CPU", 0)
        return OnnxRuntimeInstance(self._model, self._backend.session(self._model, device))


@dataclass(frozen=True, slots=True)
class _Output:
    """An output as we bind it. `dims` is None where the config leaves something open."""

    tensor: OnnxTensor
    number: int
    element_bytes: int
    dims: tuple[int, ...] | None


class OnnxRuntimeInstance:
    """One thread that runs the shared session; its I/O binding is its own."""

    def __init__(self, model: ModelInfo, session: Session) -> None:
        self._model = model
        self._session = session.native
        names = {tensor["name"] for tensor in model.config["input"]} | set(model.control_names)
        self._inputs = [tensor for tensor in session.inputs if tensor.name in names]
        self._outputs = _outputs(model, session)
        tensors = [*self._inputs, *(output.tensor for output in self._outputs.values())]
        self._has_strings = any(tensor.wire_datatype == "BYTES" for tensor in tensors)
        ort = import_onnxruntime(model)
        self._binding = ort.IOBinding(session.native)
        self._run_options = ort.RunOptions()
        arena = shrinks_arena(model)
        if arena:
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", arena)

    def run(self, executor: Executor) -> None:
        execute = self._execute_strings if self._has_strings else self._execute_bound
        while (batch := executor.next_batch()) is not None:
            try:
                execute(batch)
            except ServerError as error:
                batch.fail(error.code, str(error))
            except Exception as error:  # whatever ONNX Runtime raises is the batch's error
                batch.fail(InternalError.code, error_text(error))
            finally:
                batch.done()

    def finalize(self) -> None:
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()

    def _execute_bound(self, batch: Batch) -> None:
        binding = self._binding
        try:
            for slot, tensor in enumerate(self._inputs):
                gathered = batch.gather(tensor.name, slot)
                if gathered is not None:
                    address, _, shape, _ = gathered
                    shape = [] if tensor.is_scalar else shape
                    binding.bind_input(tensor.name, "cpu", 0, tensor.onnx_type, shape, address)
            outputs = [self._outputs[name] for name in batch.wanted_outputs()]
            bound = [self._bind_output(batch, output) for output in outputs]
            batch.mark_input_end()
            self._session.run_with_iobinding(binding, self._run_options)
            batch.mark_output_start()
            batch.scatter(
                [
                    (output.tensor.name, output.number, *placed)
                    for output, placed in zip(outputs, self._placed(batch, bound), strict=True)
                ],
                self._model.max_batch_size == 0,
            )
        finally:
            binding.clear_binding_inputs()
            binding.clear_binding_outputs()

    def _bind_output(self, batch: Batch, output: _Output) -> tuple[list[int], OutputBuffer] | None:
        """Its shape and place where both are known before the run."""
        if output.dims is None:
            self._binding.bind_output(output.tensor.name, "cpu")
            return None
        shape = list(output.dims)
        if self._model.max_batch_size > 0:
            shape[0] = batch.batch_size
        buffer = batch.allocate(math.prod(shape) * output.element_bytes)
        seen = [] if output.tensor.is_scalar else shape
        self._binding.bind_output(
            output.tensor.name, "cpu", 0, output.tensor.onnx_type, seen, buffer.address
        )
        return shape, buffer

    def _placed(
        self, batch: Batch, bound: Sequence[tuple[list[int], OutputBuffer] | None]
    ) -> list[tuple[list[int], OutputBuffer]]:
        """Each output's shape and place; what ONNX Runtime allocated is copied once."""
        if None not in bound:
            return [place for place in bound if place is not None]
        values = self._binding.get_outputs()
        placed: list[tuple[list[int], OutputBuffer]] = []
        for place, value in zip(bound, values, strict=True):
            if place is None:
                buffer = batch.allocate(value.tensor_size_in_bytes())
                buffer.copy_from(value.data_ptr())
                place = list(value.shape()), buffer
            placed.append(place)
        return placed

    def _execute_strings(self, batch: Batch) -> None:
        feed = {}
        for slot, tensor in enumerate(self._inputs):
            array = batch.gather_array(tensor.name, slot)
            if array is not None:
                is_text = tensor.wire_datatype == "BYTES"
                array = _as_text(tensor.name, array) if is_text else array
                feed[tensor.name] = array.reshape(()) if tensor.is_scalar else array
        outputs = [self._outputs[name] for name in batch.wanted_outputs()]
        batch.mark_input_end()
        arrays = self._session.run(
            [output.tensor.name for output in outputs], feed, self._run_options
        )
        batch.mark_output_start()
        placed = []
        for output, array in zip(outputs, arrays, strict=True):
            if output.number == _BYTES:
                buffer = batch.encode(array)
            else:
                buffer = batch.allocate(array.nbytes)
                buffer.copy_from(array.ctypes.data)
            shape = [1] if output.tensor.is_scalar else list(array.shape)
            placed.append((output.tensor.name, output.number, shape, buffer))
        batch.scatter(placed, self._model.max_batch_size == 0)


def _as_text(name: str, array: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """ONNX Runtime's Python interface takes strings as text only."""
    made = np.empty(array.shape, dtype=np.object_)
    try:
        made.ravel()[:] = [element.decode() for element in array.ravel()]
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"input '{name}' has an element that is not UTF-8: {error}"
        ) from error
    return made


def _outputs(model: ModelInfo, session: Session) -> dict[str, _Output]:
    own = {tensor.name: tensor for tensor in session.outputs}
    made: dict[str, _Output] = {}
    for tensor in model.config["output"]:
        known = own[tensor["name"]]
        wire = datatype.BY_WIRE_NAME[WIRE_BY_ONNX[known.onnx_type]]
        dims = backend_dims(model, tensor)
        fixed = dims[1:] if model.max_batch_size > 0 else dims
        # The batch dimension stands first and is set for each batch. A model whose own first
        # dimension is fixed gives what it gives.
        open_batch = model.max_batch_size == 0 or known.dims[:1] == (-1,)
        known_shape = open_batch and wire.byte_size > 0 and all(dim >= 0 for dim in fixed)
        made[known.name] = _Output(
            known, wire.number, wire.byte_size, tuple(dims) if known_shape else None
        )
    return made


def _first_device(model: ModelInfo) -> Device:
    """Where the model is opened to be described, before the instances are planned."""
    for group in model.config.get("instance_group", []):
        if group["kind"] == "KIND_GPU":
            return Device("KIND_GPU", group["gpus"][0] if group["gpus"] else 0)
        break
    return Device("KIND_CPU", 0)
