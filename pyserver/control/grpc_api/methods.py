"""What a method of the inference service is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from pyserver.control.services import Services

# Refuses by a ServerError.
Answer = Callable[[Services, Any], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class Method:
    """`category` is the word by which --grpc-restricted-protocol names it, as the frontends' table
    has it too.
    """

    category: str
    answer: Answer
