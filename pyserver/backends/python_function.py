"""A function with `@pyserver.model` as a model: a class of the same shape as Triton's, made from
the function's signature, so that all the rest of the backend sees no difference.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyserver._core import InferenceRequest, InferenceResponse, Tensor, TritonError
from pyserver.backends.python_annotations import Result, Signature, TensorSpec, signature_of
from pyserver.backends.python_decorator import MARK, ModelOptions
from pyserver.backends.python_model_config import ModelConfig
from pyserver.backends.python_traceback import describe_error
from pyserver.errors import InvalidArgumentError

Array = npt.NDArray[Any]
Arguments = dict[str, Any]

# The member of what a model says of itself that only ours has; see pyserver.config.autocomplete.
OURS: Final = "pyserver"


def function_model(module: ModuleType) -> type[Any] | None:
    """The model of a module's decorated function; None where there is none.

    Raises InvalidArgumentError where there are several, or its annotations are no good.
    """
    found = {
        name: value
        for name, value in vars(module).items()
        if callable(value) and isinstance(getattr(value, MARK, None), ModelOptions)
    }
    if not found:
        return None
    if len({id(value) for value in found.values()}) > 1 or hasattr(module, "TritonPythonModel"):
        names = [*found, *(["TritonPythonModel"] if hasattr(module, "TritonPythonModel") else [])]
        raise InvalidArgumentError(
            f"{module.__file__}: a model file holds one model, and this one has {', '.join(names)}"
        )
    function = next(iter(found.values()))
    options: ModelOptions = getattr(function, MARK)
    signature = signature_of(function, options)
    kind: type[_FunctionModel] = _StreamingModel if signature.streams else _AnsweringModel
    return type(
        "TritonPythonModel",
        (kind,),
        {
            "function": staticmethod(function),
            "options": options,
            "signature": signature,
            # The generator or coroutine itself is what the backend looks at.
            **({"stream": _stream_async} if signature.streams and signature.is_async else {}),
        },
    )


class _FunctionModel:
    """`function`, `options` and `signature` are the class's own."""

    function: Callable[..., Any]
    options: ModelOptions
    signature: Signature

    def initialize(self, args: Mapping[str, str]) -> None:
        self._instance = args["model_instance_name"]
        self._rows = int(json.loads(args["model_config"]).get("max_batch_size", 0)) > 0

    @classmethod
    def auto_complete_config(cls, config: ModelConfig) -> ModelConfig:
        signature, options = cls.signature, cls.options
        given = config.as_dict()
        for section, specs in (("input", signature.inputs), ("output", signature.outputs)):
            names = [spec.name for spec in specs]
            for tensor in given[section]:
                if tensor["name"] not in names:
                    raise ValueError(
                        f"the config of model '{given['name']}' has {section} '{tensor['name']}';"
                        f" its function has {', '.join(names)}"
                    )
        config.set_max_batch_size(options.max_batch_size)
        config.set_model_transaction_policy({"decoupled": signature.streams})
        for spec in signature.inputs:
            config.add_input(spec.as_config())
        for spec in signature.outputs:
            config.add_output(spec.as_config())
        if options.dynamic_batching is not None and "sequence_batching" not in given:
            given.setdefault("dynamic_batching", dict(options.dynamic_batching))
        if options.instances:
            given[OURS] = {"instances": options.instances}
        return config

    def arguments(self, request: InferenceRequest) -> Arguments:
        """The parameters of a call; what the client has left out is left to its default."""
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        names = [spec.name for spec in self.signature.inputs if spec.name in tensors]
        made: Arguments = {name: tensors[name] for name in names}
        if self.signature.request:
            made[self.signature.request] = request
        return made

    def arrays(self, result: Any) -> list[Array]:
        """Each output's array, checked. Raises TypeError or ValueError, which say what is wrong."""
        outputs, how = self.signature.outputs, self.signature.result
        if how is Result.ARRAY:
            parts: Sequence[Any] = (result,)
        elif how is Result.KEYS:
            parts = [result[spec.name] for spec in outputs]
        elif how is Result.ATTRIBUTES:
            parts = [getattr(result, spec.name) for spec in outputs]
        else:
            parts = tuple(result)
        if len(parts) != len(outputs):
            raise ValueError(
                f"{self.function.__name__} returned {len(parts)} arrays for {len(outputs)} outputs"
            )
        return [self._array(spec, part) for spec, part in zip(outputs, parts, strict=True)]

    def _array(self, spec: TensorSpec, given: Any) -> Array:
        wanted = np.dtype(spec.datatype.numpy_name)
        array = given if isinstance(given, np.ndarray) else np.asarray(given, wanted)
        text = wanted == np.dtype(object) and array.dtype.kind in "SU"
        dims = (-1, *spec.dims) if self._rows else spec.dims
        fits = len(dims) == array.ndim and all(
            one in (-1, size) for one, size in zip(dims, array.shape, strict=True)
        )
        if (array.dtype != wanted and not text) or not fits:
            raise ValueError(
                f"{self.function.__name__} returned {array.dtype} of shape {list(array.shape)} for"
                f" output '{spec.name}'; wanted is {spec.datatype.numpy_name} of shape {list(dims)}"
            )
        return array.astype(object) if text else array

    def response(self, arrays: Sequence[Array]) -> InferenceResponse:
        pairs = zip(self.signature.outputs, arrays, strict=True)
        return InferenceResponse([Tensor(spec.name, array) for spec, array in pairs])

    def failure(self, error: BaseException) -> InferenceResponse:
        text = (
            f"Failed to process the request(s) for model '{self._instance}', message:"
            f" {describe_error(error)}"
        )
        return InferenceResponse(error=TritonError(text))


class _AnsweringModel(_FunctionModel):
    """A function that returns. What it raises is the error of the requests of that call alone."""

    def execute(self, requests: list[InferenceRequest]) -> Any:
        if self.signature.is_async:
            return self._execute_async(requests)
        if not self.options.batched:
            return [self._call(request) for request in requests]
        responses: dict[int, InferenceResponse] = {}
        for group in self._groups(requests):
            try:
                result = self.function(**self._joined([requests[index] for index in group]))
                made = self._split(result, [requests[index] for index in group])
            except Exception as error:
                made = [self.failure(error) for _ in group]
            responses |= zip(group, made, strict=True)
        return [responses[index] for index in range(len(requests))]

    async def _execute_async(self, requests: list[InferenceRequest]) -> list[InferenceResponse]:
        if not self.options.batched:
            return list(await asyncio.gather(*(self._call_async(one) for one in requests)))
        responses: dict[int, InferenceResponse] = {}
        for group in self._groups(requests):
            try:
                result = await self.function(**self._joined([requests[index] for index in group]))
                made = self._split(result, [requests[index] for index in group])
            except Exception as error:
                made = [self.failure(error) for _ in group]
            responses |= zip(group, made, strict=True)
        return [responses[index] for index in range(len(requests))]

    def _call(self, request: InferenceRequest) -> InferenceResponse:
        try:
            return self.response(self.arrays(self.function(**self.arguments(request))))
        except Exception as error:
            return self.failure(error)

    async def _call_async(self, request: InferenceRequest) -> InferenceResponse:
        try:
            return self.response(self.arrays(await self.function(**self.arguments(request))))
        except Exception as error:
            return self.failure(error)

    def _groups(self, requests: list[InferenceRequest]) -> list[list[int]]:
        """Requests that can be joined: with the same inputs, that differ in their rows only."""
        groups: dict[Any, list[int]] = {}
        for index, request in enumerate(requests):
            shapes = {one.name(): tuple(one.shape()[1:]) for one in request.inputs()}
            groups.setdefault(tuple(sorted(shapes.items())), []).append(index)
        return list(groups.values())

    def _joined(self, requests: list[InferenceRequest]) -> Arguments:
        given = [self.arguments(request) for request in requests]
        if len(given) == 1:
            return given[0]
        return {name: np.concatenate([one[name] for one in given]) for name in given[0]}

    def _split(self, result: Any, requests: list[InferenceRequest]) -> list[InferenceResponse]:
        arrays = self.arrays(result)
        rows = [request.inputs()[0].shape()[0] for request in requests]
        for spec, array in zip(self.signature.outputs, arrays, strict=True):
            if len(array) != sum(rows):
                raise ValueError(
                    f"{self.function.__name__} returned {len(array)} rows for output"
                    f" '{spec.name}'; the batch has {sum(rows)}"
                )
        if len(requests) == 1:
            return [self.response(arrays)]
        made = []
        first = 0
        for count in rows:
            made.append(self.response([array[first : first + count] for array in arrays]))
            first += count
        return made


class _StreamingModel(_FunctionModel):
    """A generator function: each thing that it yields is a response."""

    def stream(self, request: InferenceRequest) -> Iterator[InferenceResponse]:
        with closing(self.function(**self.arguments(request))) as generator:
            for result in generator:
                yield self.response(self.arrays(result))


async def _stream_async(
    self: _StreamingModel, request: InferenceRequest
) -> AsyncIterator[InferenceResponse]:
    async with aclosing(self.function(**self.arguments(request))) as generator:
        async for result in generator:
            yield self.response(self.arrays(result))
