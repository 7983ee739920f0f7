"""The identity backend: OUTPUT<n> is INPUT<n>. The instance's loop is in C++ and copies nothing.

Parameters of the model config: `execute_delay_ms` makes each batch take that long,
`creation_delay_sec` each instance's start. Request parameters come back as response parameters.
Source: Triton's identity backend.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyserver.backends.interface import InstanceInfo, ModelInfo
from pyserver.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pyserver._core import Executor


@dataclass(frozen=True, slots=True)
class IdentityInstance:
    pairs: list[tuple[str, str]]
    execute_delay_ms: int

    def run(self, executor: Executor) -> None:
        executor.run_identity(self.pairs, self.execute_delay_ms)

    def finalize(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class IdentityModel:
    pairs: list[tuple[str, str]]
    execute_delay_ms: int
    creation_delay_s: float

    def make_instance(self, info: InstanceInfo) -> IdentityInstance:
        time.sleep(self.creation_delay_s)
        return IdentityInstance(self.pairs, self.execute_delay_ms)


class IdentityBackend:
    """Needs a config, as there is no file that could tell the inputs."""

    def describe(self, model: ModelInfo) -> dict[str, Any] | None:
        return None

    def load(self, model: ModelInfo) -> IdentityModel:
        return IdentityModel(
            _pairs(model),
            int(_number(model, "execute_delay_ms")),
            _number(model, "creation_delay_sec"),
        )


def _pairs(model: ModelInfo) -> list[tuple[str, str]]:
    """(input, output) of the same number and datatype."""
    inputs = {tensor["name"]: tensor for tensor in model.config["input"]}
    pairs: list[tuple[str, str]] = []
    for output in model.config["output"]:
        name = output["name"]
        number = name.removeprefix("OUTPUT")
        source = inputs.get(f"INPUT{number}")
        if number == name or source is None:
            raise InvalidArgumentError(
                f"model '{model.name}': the identity backend answers INPUT<n> as OUTPUT<n>, but"
                f" output '{name}' has no such input"
            )
        if source["data_type"] != output["data_type"]:
            raise InvalidArgumentError(
                f"model '{model.name}': expected datatype {source['data_type']} for output"
                f" '{name}' like that of input 'INPUT{number}', got {output['data_type']}"
            )
        pairs.append((f"INPUT{number}", name))
    return pairs


def _number(model: ModelInfo, key: str) -> float:
    text = model.parameter(key)
    if text is None:
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise InvalidArgumentError(
            f"model '{model.name}': parameter '{key}' must be a number that is not negative, got"
            f" '{text}'"
        )
    return value
