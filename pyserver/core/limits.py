"""How long a model may take, and whether it may be asked twice: the server's flags, and what the
parameters of the model's config say instead.

    parameters { key: "execute_timeout_secs" value { string_value: "2.5" } }
    parameters { key: "load_timeout_secs" value { string_value: "60" } }
    parameters { key: "idempotent" value { string_value: "true" } }
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from pyserver.errors import InvalidArgumentError, UnavailableError
from pyserver.settings import Settings

if TYPE_CHECKING:
    from pyserver.config.model_config_pb2 import ModelConfig

T = TypeVar("T")

EXECUTE_TIMEOUT: Final = "execute_timeout_secs"
LOAD_TIMEOUT: Final = "load_timeout_secs"
IDEMPOTENT: Final = "idempotent"
_MOST_S: Final = 1e9


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds; None: for ever. `idempotent`: executing a request twice does no harm."""

    execute_s: float | None = None
    load_s: float | None = None
    idempotent: bool = False

    def as_settings(self) -> dict[str, int | bool]:
        """What `Engine.add_model` is told of them."""
        return {
            "execute_limit_ns": int((self.execute_s or 0) * 1e9),
            "idempotent": self.idempotent,
        }


async def within(limit_s: float | None, load: Awaitable[T]) -> T:
    """Raises UnavailableError when the load takes longer."""
    try:
        async with asyncio.timeout(limit_s):
            return await load
    except TimeoutError:
        raise UnavailableError(
            f"the model was not loaded within {limit_s:g} s (--load-timeout-secs, or parameter"
            f" '{LOAD_TIMEOUT}' of its config)"
        ) from None


def model_limits(config: ModelConfig, settings: Settings) -> Limits:
    """Raises InvalidArgumentError for a parameter that says something else."""
    return Limits(
        execute_s=_seconds(config, EXECUTE_TIMEOUT, settings.execute_timeout_secs),
        load_s=_seconds(config, LOAD_TIMEOUT, settings.load_timeout_secs),
        idempotent=_yes(config, IDEMPOTENT),
    )


def _text(config: ModelConfig, key: str) -> str:
    return config.parameters[key].string_value if key in config.parameters else ""


def _seconds(config: ModelConfig, key: str, otherwise: float) -> float | None:
    text = _text(config, key)
    try:
        seconds = float(text) if text else otherwise
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < _MOST_S:
        raise InvalidArgumentError(
            f"model '{config.name}': parameter '{key}' must be a number of seconds, or 0 for no"
            f" limit, not '{text}'"
        )
    return seconds or None


def _yes(config: ModelConfig, key: str) -> bool:
    text = _text(config, key).lower()
    if text not in ("", "true", "false"):
        raise InvalidArgumentError(
            f"model '{config.name}': parameter '{key}' must be 'true' or 'false', not '{text}'"
        )
    return text == "true"
