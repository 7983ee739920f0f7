"""What the handlers of both protocols are given, and the shape of HTTP's."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from pyserver.control.http_call import HttpAnswer, HttpCall
from pyserver.control.log_settings import LogSettings
from pyserver.control.operations import Operations
from pyserver.control.trace_settings import TraceSettings
from pyserver.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    operations: Operations
    logs: LogSettings
    traces: TraceSettings
    settings: Settings


# The named parts of the path as they were written; None for a part that is absent.
Parts = Mapping[str, str | None]
Handler = Callable[[Services, HttpCall, Parts], Awaitable[HttpAnswer]]


@dataclass(frozen=True, slots=True)
class Route:
    """`category` is the word by which --http-restricted-api names it, as the frontends' table has
    it too; handlers are by method.
    """

    pattern: re.Pattern[str]
    category: str
    handlers: Mapping[str, Handler]


def route(pattern: str, category: str, **handlers: Handler) -> Route:
    """A route for paths that match the pattern as a whole."""
    return Route(re.compile(pattern), category, handlers)
