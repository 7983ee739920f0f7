"""From a function's annotations to its tensors: names, datatypes, dims. Pure, and strict: what is
not understood is refused with its file, line and what was wanted.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Union

import numpy as np

from pyserver._core import InferenceRequest
from pyserver.backends.python_decorator import ModelOptions, Shape
from pyserver.datatype import BY_NUMBER, DATATYPES, Datatype
from pyserver.errors import InvalidArgumentError

_STRING: Final = next(row for row in DATATYPES if row.wire_name == "BYTES")
_BY_NUMPY: Final[Mapping[Any, Datatype]] = {
    np.dtype(row.numpy_name).type: row for row in DATATYPES if row.numpy_name is not None
} | {np.str_: _STRING, np.bytes_: _STRING}
_STREAMS: Final = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)
WANTED: Final = "Annotated[NDArray[np.float32], pyserver.shape(-1)]"


class Result(enum.Enum):
    """How a result holds its outputs."""

    ARRAY = "one array"
    TUPLE = "a tuple, in order"
    ATTRIBUTES = "an object's attributes"
    KEYS = "a dict's keys"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output; `dims` without the batch's."""

    name: str
    datatype: Datatype
    dims: tuple[int, ...]
    optional: bool = False

    def as_config(self) -> dict[str, Any]:
        """As `ModelConfig.add_input` takes it."""
        made = {"name": self.name, "data_type": self.datatype.config_name, "dims": [*self.dims]}
        return made | {"optional": True} if self.optional else made


@dataclass(frozen=True, slots=True)
class Signature:
    """All that a function's annotations say. `request` is the parameter that takes the request
    itself; empty where there is none.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    result: Result
    request: str
    streams: bool
    is_async: bool


def signature_of(function: Callable[..., Any], options: ModelOptions) -> Signature:
    """Raises InvalidArgumentError."""
    return _Reader(function, options).read()


class _Reader:
    def __init__(self, function: Callable[..., Any], options: ModelOptions) -> None:
        self._function = function
        self._options = options
        code = function.__code__
        self._where = f"{code.co_filename}:{code.co_firstlineno}: "
        self._name = function.__name__

    def read(self) -> Signature:
        try:
            hints = typing.get_type_hints(self._function, include_extras=True)
        except Exception as error:  # whatever evaluating the annotations raises
            raise self._refusal(f"annotations cannot be read: {error}") from error
        streams = inspect.isgeneratorfunction(self._function)
        streams_async = inspect.isasyncgenfunction(self._function)
        inputs, request = self._inputs(hints)
        if "return" not in hints:
            raise self._refusal(f"the result is not annotated; wanted is -> {WANTED}, or the like")
        given = hints["return"]
        if streams or streams_async:
            given = self._streamed(given)
        if self._options.batched and (streams or streams_async or request):
            what = "a function that takes its request" if request else "a generator"
            raise self._refusal(f"{what} cannot be batched: it belongs to one request")
        outputs, result = self._outputs(given)
        return Signature(
            inputs,
            outputs,
            result,
            request,
            streams=streams or streams_async,
            is_async=streams_async or inspect.iscoroutinefunction(self._function),
        )

    def _refusal(self, why: str) -> InvalidArgumentError:
        return InvalidArgumentError(f"{self._where}{self._name}: {why}")

    def _inputs(self, hints: Mapping[str, Any]) -> tuple[tuple[TensorSpec, ...], str]:
        inputs: list[TensorSpec] = []
        request = ""
        for name, parameter in inspect.signature(self._function).parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise self._refusal(f"parameter '*{name}' has no names; each input needs its own")
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise self._refusal(f"parameter '{name}' is positional-only: inputs go by name")
            if name not in hints:
                raise self._refusal(f"parameter '{name}' is not annotated; wanted is {WANTED}")
            if hints[name] is InferenceRequest:
                request = name
                continue
            given, has_none = _without_none(hints[name])
            optional = parameter.default is not parameter.empty
            if has_none and not optional:
                raise self._refusal(f"parameter '{name}' may be None: it needs a default, = None")
            inputs.append(self._tensor(f"parameter '{name}'", name, given, optional))
        if not inputs:
            raise self._refusal("it has no parameter that is an input")
        return tuple(inputs), request

    def _streamed(self, given: Any) -> Any:
        arguments = typing.get_args(given)
        if typing.get_origin(given) not in _STREAMS or not arguments:
            raise self._refusal(
                f"a generator's result is annotated {_text(given)}; wanted is Iterator[...] or"
                " AsyncIterator[...] of what it yields"
            )
        return arguments[0]

    def _outputs(self, given: Any) -> tuple[tuple[TensorSpec, ...], Result]:
        names = self._options.outputs
        fields = _fields(given)
        if fields is not None:
            if names:
                raise self._refusal("outputs= is given, but the result's fields have names")
            try:
                hints = typing.get_type_hints(given, include_extras=True)
            except Exception as error:
                raise self._refusal(f"{_text(given)} cannot be read: {error}") from error
            outputs = [
                self._tensor(f"field '{name}' of {_text(given)}", name, hints[name])
                for name in hints
            ]
            return tuple(outputs), fields
        if typing.get_origin(given) is tuple:
            parts = typing.get_args(given)
            if len(parts) != len(names):
                raise self._refusal(
                    f"the result has {len(parts)} parts, and outputs= names {len(names)};"
                    " each needs a name"
                )
            pairs = zip(names, parts, strict=True)
            made = [self._tensor(f"output '{name}'", name, part) for name, part in pairs]
            return tuple(made), Result.TUPLE
        if len(names) > 1:
            raise self._refusal(f"the result is one array, and outputs= names {len(names)}")
        return (self._tensor("the result", (*names, "output")[0], given),), Result.ARRAY

    def _tensor(self, what: str, name: str, given: Any, optional: bool = False) -> TensorSpec:
        refusal = self._refusal(f"{what} is annotated {_text(given)}; wanted is {WANTED}")
        if typing.get_origin(given) is not Annotated:
            raise refusal
        array, *extras = typing.get_args(given)
        shapes = [one for one in extras if isinstance(one, Shape)]
        arguments = typing.get_args(array)
        if typing.get_origin(array) is not np.ndarray or len(shapes) != 1 or len(arguments) < 2:
            raise refusal
        kinds = typing.get_args(arguments[1])
        row = _BY_NUMPY.get(kinds[0]) if kinds else None
        if row is None:
            known = sorted({one.numpy_name for one in BY_NUMBER.values() if one.numpy_name})
            raise self._refusal(
                f"{what} is annotated {_text(given)}, which no tensor can hold; wanted is an"
                f" NDArray of one of {', '.join(known)}, str_ or bytes_"
            )
        return TensorSpec(name, row, shapes[0].dims, optional)


def _without_none(given: Any) -> tuple[Any, bool]:
    if typing.get_origin(given) not in (Union, types.UnionType):
        return given, False
    others = [one for one in typing.get_args(given) if one is not type(None)]
    return (others[0], True) if len(others) == 1 else (given, False)


def _fields(given: Any) -> Result | None:
    """Where the outputs are found in a result with named parts; None where it has none."""
    if typing.is_typeddict(given):
        return Result.KEYS
    if dataclasses.is_dataclass(given) or (
        isinstance(given, type) and issubclass(given, tuple) and hasattr(given, "_fields")
    ):
        return Result.ATTRIBUTES
    return None


def _text(given: Any) -> str:
    return given.__name__ if isinstance(given, type) and not typing.get_args(given) else str(given)
