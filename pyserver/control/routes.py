"""How an HTTP request finds its handler, and what it gets when there is none.

As in Triton: paths are matched as they were written, never decoded; a restriction is checked before
the method, the method before anything in the body.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from pyserver.control import routes_models, routes_repository, routes_settings
from pyserver.control.http_call import HttpAnswer, HttpCall, error_answer, refusal
from pyserver.control.services import Route, Services
from pyserver.errors import ServerError
from pyserver.settings import Settings

log = logging.getLogger(__name__)

ROUTES: Final[tuple[Route, ...]] = (
    *routes_models.ROUTES,
    *routes_repository.ROUTES,
    *routes_settings.ROUTES,
)
CATEGORIES: Final = frozenset(one.category for one in ROUTES) | {"trace"}


class Dispatcher:
    """Answers calls; never raises."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._restrictions = restrictions(services.settings)

    async def answer(self, call: HttpCall) -> HttpAnswer:
        log.debug("HTTP request: %s %s", call.method, call.path)
        for route in ROUTES:
            parts = route.pattern.fullmatch(call.path)
            if parts is None:
                continue
            restriction = self._restrictions.get(route.category)
            if (
                restriction is not None
                and call.headers.get(restriction[0].lower()) != restriction[1]
            ):
                return error_answer(
                    403, f"This API is restricted, expecting header '{restriction[0]}'"
                )
            handler = route.handlers.get(call.method)
            if handler is None:
                return error_answer(405, "Method Not Allowed")
            try:
                return await handler(self._services, call, parts.groupdict())
            except ServerError as error:
                return refusal(error)
            except Exception:
                log.exception("the answer to %s %s failed", call.method, call.path)
                return error_answer(500, "internal error; the server's log has the details")
        return error_answer(404, "Not Found")


def restrictions(settings: Settings) -> Mapping[str, tuple[str, str]]:
    """Category -> the header and value that requests of it must carry."""
    return {
        category: (header, value)
        for categories, header, value in settings.http_restricted_api
        for category in categories.split(",")
    }
