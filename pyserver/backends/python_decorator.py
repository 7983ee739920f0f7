"""`@pyserver.model` and `pyserver.shape`, ours alone: a typed function is a model without a config.

    import numpy as np
    import pyserver
    from numpy.typing import NDArray
    from typing import Annotated

    Row = Annotated[NDArray[np.float32], pyserver.shape(-1)]

    @pyserver.model(outputs="sum")
    def add(a: Row, b: Row) -> Row:
        return a + b

The decorator only notes what it was given: the function stays what it is, so that it can be called
in tests. Annotations are read when the model is loaded (python_annotations). Needs no numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Final, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

# The function's attribute that says it is a model.
MARK: Final = "__pyserver_model__"
_DYNAMIC_BATCHING: Final = ("preferred_batch_size", "max_queue_delay_microseconds")


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of a tensor, as in a config's `dims`: without the batch's."""

    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What the decorator was given; see `model`."""

    max_batch_size: int = 0
    batched: bool = False
    instances: int = 0
    dynamic_batching: Mapping[str, Any] | None = None
    outputs: tuple[str, ...] = ()


def shape(*dims: int) -> Shape:
    """For `Annotated[NDArray[...], pyserver.shape(...)]`: -1 is any size. Raises TypeError."""
    for size in dims:
        if isinstance(size, bool) or not isinstance(size, int) or (size < 1 and size != -1):
            raise TypeError(f"pyserver.shape takes -1 or sizes of at least 1, not {size!r}")
    if not dims:
        raise TypeError("pyserver.shape needs at least one dimension; one value is shape(1)")
    return Shape(tuple(dims))


def model(
    function: Function | None = None,
    *,
    max_batch_size: int = 0,
    batched: bool = False,
    instances: int = 0,
    dynamic_batching: bool | Mapping[str, Any] = False,
    outputs: str | Sequence[str] = (),
) -> Any:
    """Makes the one function of a model file that is decorated with it the model.

    Parameters are inputs, by name. The result is one array (named by `outputs`, or "output"), a
    tuple of them (named by `outputs`), or a NamedTuple, TypedDict or dataclass whose fields are the
    outputs. A generator function is a decoupled model that streams. With `max_batch_size` arrays
    have a leading dimension of rows; `batched` joins the requests of a batch for one call, else it
    is called for each request. `instances` (1 by default) are processes. `dynamic_batching` is True
    or a dict of preferred_batch_size and max_queue_delay_microseconds. What a config.pbtxt says of
    instances and batching goes before. Raises TypeError where an option is no good.
    """
    for name, value in (("max_batch_size", max_batch_size), ("instances", instances)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise TypeError(f"pyserver.model: {name} must be a number of at least 0, not {value!r}")
    if batched and max_batch_size < 1:
        raise TypeError("pyserver.model: batched=True needs max_batch_size of at least 1")
    if dynamic_batching and max_batch_size < 1:
        raise TypeError("pyserver.model: dynamic_batching needs max_batch_size of at least 1")
    options = ModelOptions(
        max_batch_size=max_batch_size,
        batched=batched,
        instances=instances,
        dynamic_batching=_dynamic_batching(dynamic_batching),
        outputs=(outputs,) if isinstance(outputs, str) else tuple(outputs),
    )

    def mark(marked: Function) -> Function:
        if not isinstance(marked, FunctionType):
            raise TypeError(f"pyserver.model decorates a function, not {marked!r}")
        setattr(marked, MARK, options)
        return marked

    return mark if function is None else mark(function)


def _dynamic_batching(given: bool | Mapping[str, Any]) -> Mapping[str, Any] | None:
    if given is False:
        return None
    if given is True:
        return {}
    for key in given:
        if key not in _DYNAMIC_BATCHING:
            raise TypeError(
                f"pyserver.model: dynamic_batching takes {' and '.join(_DYNAMIC_BATCHING)}, not"
                f" '{key}'"
            )
    return dict(given)
