"""The implicit states that a model with sequences asks for, as the native executor takes them."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pyserver.beneath import LeadsOut, Refused, read_beneath
from pyserver.datatype import BY_CONFIG_NAME, Datatype
from pyserver.errors import InvalidArgumentError

INITIAL_STATE_FOLDER: Final = "initial_state"

# (input, output, datatype number, shape at the start, its bytes, same buffer)
State = tuple[str, str, int, list[int], bytes, bool]


def state_tensors(config: Mapping[str, Any], model_dir: Path) -> list[State]:
    """Each state as a sequence begins with it.

    Without an `initial_state` that is zeros (empty strings), where Triton leaves the memory as it
    is. Variable dimensions are 1 unless the initial state has others. Raises InvalidArgumentError
    for a file that is not there or has not the size of its dims.
    """
    states = config.get("sequence_batching", {}).get("state", [])
    return [_state(config, state, model_dir) for state in states]


def _state(config: Mapping[str, Any], state: Mapping[str, Any], model_dir: Path) -> State:
    datatype = BY_CONFIG_NAME[state["data_type"]]
    given = state.get("initial_state") or []
    initial: Mapping[str, Any] = given[0] if given else {}
    dims = [int(dim) for dim in (initial.get("dims") or state["dims"])]
    dims = [1 if dim < 0 else dim for dim in dims]
    where = f"initial state '{initial.get('name', '')}' of state '{state['input_name']}'"
    if initial:
        _check(config, state, initial, dims, where)
    data = _zeros(datatype, dims)
    if initial.get("data_file"):
        data = _read(model_dir, str(initial["data_file"]), where)
        _check_size(datatype, dims, data, where)
    shape = [1, *dims] if int(config.get("max_batch_size", 0)) > 0 else dims
    same = bool(state.get("use_same_buffer_for_input_output", False))
    return state["input_name"], state["output_name"], datatype.number, shape, data, same


def _zeros(datatype: Datatype, dims: list[int]) -> bytes:
    return bytes(math.prod(dims) * (datatype.byte_size or 4))


def _check(
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    initial: Mapping[str, Any],
    dims: list[int],
    where: str,
) -> None:
    if initial.get("data_type", state["data_type"]) != state["data_type"]:
        raise InvalidArgumentError(
            f"{where} of model '{config['name']}' has data_type {initial['data_type']}, the state"
            f" has {state['data_type']}"
        )
    own = [int(dim) for dim in state["dims"]]
    fits = len(own) == len(dims) and all(
        mine in (-1, theirs) for mine, theirs in zip(own, dims, strict=True)
    )
    if not fits:
        raise InvalidArgumentError(
            f"{where} of model '{config['name']}' has dims {dims}, which do not fit the state's"
            f" {own}"
        )


def _read(model_dir: Path, name: str, where: str) -> bytes:
    folder = model_dir / INITIAL_STATE_FOLDER
    path = folder / name
    try:
        return read_beneath(folder, name)
    except LeadsOut as error:
        raise InvalidArgumentError(
            f"{where}: data_file '{name}' leads out of the model's {INITIAL_STATE_FOLDER} folder:"
            f" it {error}"
        ) from error
    except Refused as error:
        raise InvalidArgumentError(f"{where}: failed to read '{path}': it {error}") from error
    except OSError as error:
        raise InvalidArgumentError(
            f"{where}: failed to read '{path}': {error.strerror or error}"
        ) from error


def _check_size(datatype: Datatype, dims: list[int], data: bytes, where: str) -> None:
    elements = math.prod(dims)
    if datatype.byte_size:
        if len(data) != elements * datatype.byte_size:
            raise InvalidArgumentError(
                f"{where}: dims {dims} of {datatype.config_name} are"
                f" {elements * datatype.byte_size} bytes, the file has {len(data)}"
            )
        return
    at = found = 0
    while at + 4 <= len(data):
        at += 4 + struct.unpack_from("<I", data, at)[0]
        found += 1
    if at != len(data) or found != elements:
        raise InvalidArgumentError(
            f"{where}: the file should hold {elements} strings, each behind its length in 4 bytes;"
            f" it has {len(data)} bytes and {found} strings"
        )
