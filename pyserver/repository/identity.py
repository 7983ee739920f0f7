"""What a model is known by inside the server: its name, or, with --model-namespacing, the path of
its folder, so that models of equal name in different repositories are different ones.

A name has no slash, so either tells what clients call the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pyserver.errors import InvalidArgumentError


def identity(repository: Path, name: str, *, namespacing: bool) -> str:
    return f"{repository}/{name}" if namespacing else name


def name_of(model: str) -> str:
    """What clients call the model of this identity."""
    return model.rpartition("/")[2]


def beside(model: str, name: str, models: Iterable[str]) -> str:
    """Which of `models` an ensemble means by the name of a step: the one of its own repository, or
    the only one. The name itself, where there is none, or more than one.
    """
    namesakes = [one for one in models if name_of(one) == name]
    own = f"{model.rpartition('/')[0]}/{name}"
    if own in namesakes:
        return own
    return namesakes[0] if len(namesakes) == 1 else name


def ambiguous(name: str, count: int) -> InvalidArgumentError:
    """Triton's text."""
    return InvalidArgumentError(
        f"There are {count} identifiers of model '{name}' in global map, model namespace must be"
        " provided to resolve ambiguity."
    )
