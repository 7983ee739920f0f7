"""One thread that runs an ONNX Runtime session: inputs, states and outputs are bound where they
lie.

A batch is the requests' own memory, or what was gathered of them. Outputs whose shape the config
tells are bound to shared memory and reach the client without a copy, states to the memory of their
sequence; others are copied once. Models with string tensors go through numpy object arrays.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pyserver import datatype
from pyserver.backends.interface import ModelInfo
from pyserver.backends.onnx_session import (
    OnnxTensor,
    Session,
    backend_dims,
    batched_dims,
    error_text,
    import_onnxruntime,
    shrinks_arena,
)
from pyserver.errors import InternalError, InvalidArgumentError, ServerError

if TYPE_CHECKING:
    from pyserver._core import Batch, Executor, OutputBuffer

_BYTES: Final = datatype.BY_WIRE_NAME["BYTES"].number

# Numbers of csrc/instance/ragged.h, by BatchInput.Kind.
_BATCH_INPUT_KINDS: Final = {
    "BATCH_ELEMENT_COUNT": 0,
    "BATCH_ACCUMULATED_ELEMENT_COUNT": 1,
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": 2,
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": 3,
    "BATCH_ITEM_SHAPE": 4,
    "BATCH_ITEM_SHAPE_FLATTEN": 5,
}

# What `Batch.scatter` takes of one output.
_Scattered = tuple[str, int, list[int], "OutputBuffer", str]


@dataclass(frozen=True, slots=True)
class _Input:
    tensor: OnnxTensor
    ragged: bool


@dataclass(frozen=True, slots=True)
class _BatchInput:
    """An input that tells of the batch: its kind's number, and the input that it counts."""

    tensor: OnnxTensor
    kind: int
    source: str
    datatype: int


@dataclass(frozen=True, slots=True)
class _Output:
    """An output as we bind it. `dims` is None where the config leaves something open."""

    tensor: OnnxTensor
    number: int
    element_bytes: int
    dims: tuple[int, ...] | None
    shaped_as: str = ""  # the input by whose shapes it is split


@dataclass(frozen=True, slots=True)
class _State:
    """A state: `input` is fed from what `output` was at the sequence's last step."""

    number: int
    input: OnnxTensor
    output: _Output


class OnnxRuntimeInstance:
    """One thread that runs the shared session; its I/O binding is its own."""

    def __init__(self, model: ModelInfo, session: Session) -> None:
        self._model = model
        self._session = session.native
        self._inputs = _inputs(model, session)
        self._batch_inputs = _batch_inputs(model, session)
        self._outputs = _outputs(model, session)
        self._states = _states(model, session)
        self._state_names = {state.output.tensor.name for state in self._states}
        tensors = [
            *(one.tensor for one in self._inputs),
            *(output.tensor for output in self._outputs.values()),
            *(state.input for state in self._states),
        ]
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
                while batch.next_group():
                    self._try(execute, batch)
            finally:
                batch.done()

    def _try(self, execute: Any, batch: Batch) -> None:
        try:
            execute(batch)
        except ServerError as error:
            batch.fail(error.code, str(error))
        except Exception as error:  # whatever ONNX Runtime raises is the batch's error
            batch.fail(InternalError.code, error_text(error))

    def finalize(self) -> None:
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()

    # --- tensors without strings ---

    def _execute_bound(self, batch: Batch) -> None:
        binding = self._binding
        try:
            self._bind_inputs(batch)
            wanted = [self._outputs[name] for name in batch.wanted_outputs()]
            plain = [one for one in wanted if one.tensor.name not in self._state_names]
            bound = [self._bind_output(batch, output) for output in plain]
            places = [self._bind_state(batch, state) for state in self._states]
            batch.mark_input_end()
            self._session.run_with_iobinding(binding, self._run_options)
            batch.mark_output_start()
            made = self._scattered(batch, plain, bound)
            if self._states:
                states = self._take_states(batch, places, len(plain))
                made += [self._copied(batch, one, states) for one in wanted if one not in plain]
                batch.commit_states()
            batch.scatter(made, self._model.max_batch_size == 0)
        finally:
            binding.clear_binding_inputs()
            binding.clear_binding_outputs()

    def _bind_inputs(self, batch: Batch) -> None:
        for slot, one in enumerate(self._inputs):
            gathered = batch.gather(one.tensor.name, slot, one.ragged)
            if gathered is not None:
                address, _, shape, _ = gathered
                self._bind_input(one.tensor, shape, address)
        for number, made in enumerate(self._batch_inputs):
            address, shape = batch.batch_input(number, made.kind, made.source, made.datatype)
            self._bind_input(made.tensor, shape, address)
        for state in self._states:
            address, shape = batch.gather_state(state.number)
            self._bind_input(state.input, shape, address)

    def _bind_input(self, tensor: OnnxTensor, shape: list[int], address: int) -> None:
        seen = [] if tensor.is_scalar else shape
        self._binding.bind_input(tensor.name, "cpu", 0, tensor.onnx_type, seen, address)

    def _bind_output(self, batch: Batch, output: _Output) -> tuple[list[int], OutputBuffer] | None:
        """Its shape and place where both are known before the run."""
        shape = self._known_shape(batch, output)
        if shape is None:
            self._binding.bind_output(output.tensor.name, "cpu")
            return None
        buffer = batch.allocate(math.prod(shape) * output.element_bytes)
        self._bind_to(output.tensor, shape, buffer.address)
        return shape, buffer

    def _bind_state(self, batch: Batch, state: _State) -> tuple[list[int], int] | None:
        """The same of a state's output: its shape and the address in its sequence's memory."""
        shape = self._known_shape(batch, state.output)
        if shape is None:
            self._binding.bind_output(state.output.tensor.name, "cpu")
            return None
        size = math.prod(shape) * state.output.element_bytes
        address = batch.place_state(state.number, shape, size)
        self._bind_to(state.output.tensor, shape, address)
        return shape, address

    def _known_shape(self, batch: Batch, output: _Output) -> list[int] | None:
        if output.dims is None:
            return None
        shape = list(output.dims)
        if self._model.max_batch_size > 0:
            shape[0] = batch.batch_size
        return shape

    def _bind_to(self, tensor: OnnxTensor, shape: list[int], address: int) -> None:
        seen = [] if tensor.is_scalar else shape
        self._binding.bind_output(tensor.name, "cpu", 0, tensor.onnx_type, seen, address)

    def _scattered(
        self,
        batch: Batch,
        outputs: Sequence[_Output],
        bound: Sequence[tuple[list[int], OutputBuffer] | None],
    ) -> list[_Scattered]:
        """Each output with its place; what ONNX Runtime allocated is copied once."""
        values = self._binding.get_outputs() if None in bound else [None] * len(bound)
        made: list[_Scattered] = []
        for output, place, value in zip(outputs, bound, values[: len(bound)], strict=True):
            if place is None:
                assert value is not None
                buffer = batch.allocate(value.tensor_size_in_bytes())
                buffer.copy_from(value.data_ptr())
                place = list(value.shape()), buffer
            made.append((output.tensor.name, output.number, *place, output.shaped_as))
        return made

    def _take_states(
        self, batch: Batch, places: Sequence[tuple[list[int], int] | None], first: int
    ) -> dict[str, tuple[list[int], int]]:
        """Where the new states lie, by output. `first` is the binding's number of the first."""
        values = self._binding.get_outputs()[first:] if None in places else [None] * len(places)
        taken: dict[str, tuple[list[int], int]] = {}
        for state, place, value in zip(self._states, places, values, strict=True):
            if place is None:
                assert value is not None
                shape, size = list(value.shape()), value.tensor_size_in_bytes()
                address = batch.place_state(state.number, shape, size)
                ctypes.memmove(address, value.data_ptr(), size)
                place = shape, address
            taken[state.output.tensor.name] = place
        return taken

    def _copied(
        self, batch: Batch, output: _Output, states: Mapping[str, tuple[list[int], int]]
    ) -> _Scattered:
        """A state that a client asked for, too."""
        shape, address = states[output.tensor.name]
        buffer = batch.allocate(math.prod(shape) * output.element_bytes)
        buffer.copy_from(address)
        return output.tensor.name, output.number, shape, buffer, output.shaped_as

    # --- tensors with strings ---

    def _execute_strings(self, batch: Batch) -> None:
        feed = self._arrays(batch)
        wanted = [self._outputs[name] for name in batch.wanted_outputs()]
        names = [output.tensor.name for output in wanted]
        more = [state.output.tensor.name for state in self._states]
        batch.mark_input_end()
        arrays = dict(
            zip(
                [*names, *more],
                self._session.run([*names, *more], feed, self._run_options),
                strict=True,
            )
        )
        batch.mark_output_start()
        for state in self._states:
            batch.put_state(state.number, arrays[state.output.tensor.name])
        if self._states:
            batch.commit_states()
        made: list[_Scattered] = []
        for output in wanted:
            array = arrays[output.tensor.name]
            if output.number == _BYTES:
                buffer = batch.encode(array)
            else:
                buffer = batch.allocate(array.nbytes)
                buffer.copy_from(array.ctypes.data)
            shape = [1] if output.tensor.is_scalar else list(array.shape)
            made.append((output.tensor.name, output.number, shape, buffer, output.shaped_as))
        batch.scatter(made, self._model.max_batch_size == 0)

    def _arrays(self, batch: Batch) -> dict[str, npt.NDArray[Any]]:
        feed: dict[str, npt.NDArray[Any]] = {}
        for slot, one in enumerate(self._inputs):
            array = batch.gather_array(one.tensor.name, slot, one.ragged)
            if array is not None:
                feed[one.tensor.name] = _plain(one.tensor, array)
        for number, made in enumerate(self._batch_inputs):
            address, shape = batch.batch_input(number, made.kind, made.source, made.datatype)
            kind = np.int32 if made.tensor.wire_datatype == "INT32" else np.float32
            size = math.prod(shape) * 4
            data = ctypes.string_at(address, size) if size else b""
            feed[made.tensor.name] = np.frombuffer(data, kind).reshape(shape)
        for state in self._states:
            feed[state.input.name] = _plain(state.input, batch.state_array(state.number))
        return feed


def _plain(tensor: OnnxTensor, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """As ONNX Runtime's Python interface takes it: strings are text, scalars have no dims."""
    if tensor.wire_datatype == "BYTES":
        array = _as_text(tensor.name, array)
    return array.reshape(()) if tensor.is_scalar else array


def _as_text(name: str, array: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    made = np.empty(array.shape, dtype=np.object_)
    try:
        made.ravel()[:] = [element.decode() for element in array.ravel()]
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"input '{name}' has an element that is not UTF-8: {error}"
        ) from error
    return made


def _inputs(model: ModelInfo, session: Session) -> list[_Input]:
    ragged = {
        tensor["name"]: bool(tensor.get("allow_ragged_batch", False)) and model.max_batch_size > 0
        for tensor in model.config["input"]
    }
    ragged.update(dict.fromkeys(model.control_names, False))
    return [_Input(one, ragged[one.name]) for one in session.inputs if one.name in ragged]


def _batch_inputs(model: ModelInfo, session: Session) -> list[_BatchInput]:
    own = {tensor.name: tensor for tensor in session.inputs}
    return [
        _BatchInput(
            own[name],
            _BATCH_INPUT_KINDS[made.get("kind", "BATCH_ELEMENT_COUNT")],
            made["source_input"][0],
            datatype.BY_CONFIG_NAME[made["data_type"]].number,
        )
        for made in model.config.get("batch_input", [])
        for name in made["target_name"]
    ]


def _outputs(model: ModelInfo, session: Session) -> dict[str, _Output]:
    shaped_as = {
        name: made["source_input"][0]
        for made in model.config.get("batch_output", [])
        for name in made["target_name"]
    }
    own = {tensor.name: tensor for tensor in session.outputs}
    return {
        tensor["name"]: _output(
            model,
            own[tensor["name"]],
            backend_dims(model, tensor),
            shaped_as.get(tensor["name"], ""),
        )
        for tensor in model.config["output"]
    }


def _states(model: ModelInfo, session: Session) -> list[_State]:
    inputs = {tensor.name: tensor for tensor in session.inputs}
    outputs = {tensor.name: tensor for tensor in session.outputs}
    return [
        _State(
            number,
            inputs[state["input_name"]],
            _output(model, outputs[state["output_name"]], batched_dims(model, state["dims"])),
        )
        for number, state in enumerate(model.states)
    ]


def _output(
    model: ModelInfo, tensor: OnnxTensor, dims: Sequence[int], shaped_as: str = ""
) -> _Output:
    wire = datatype.BY_WIRE_NAME[tensor.wire_datatype]
    fixed = dims[1:] if model.max_batch_size > 0 else dims
    # The batch dimension stands first and is set for each batch. A model whose own first dimension
    # is fixed gives what it gives.
    open_batch = model.max_batch_size == 0 or tensor.dims[:1] == (-1,)
    known = open_batch and wire.byte_size > 0 and all(dim >= 0 for dim in fixed) and not shaped_as
    return _Output(tensor, wire.number, wire.byte_size, tuple(dims) if known else None, shaped_as)
