"""How an HTTP request finds its handler, and what it gets when there is none.

As in Triton: paths are matched as they were written, never decoded; the method is checked before
anything in the body. Restrictions are the frontends' business (csrc/gateway/policy.cc): what comes
here has passed them.
"""

from __future__ import annotations

import logging
from typing import Final

from pyserver.control import routes_models, routes_repository, routes_settings
from pyserver.control.http_call import HttpAnswer, HttpCall, error_answer, refusal
from pyserver.control.services import Route, Services
from pyserver.errors import ServerError

log = logging.getLogger(__name__)

ROUTES: Final[tuple[Route, ...]] = (
    *routes_models.ROUTES,
    *routes_repository.ROUTES,
    *routes_settings.ROUTES,
)


class Dispatcher:
    """Answers calls; never raises."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def answer(self, call: HttpCall) -> HttpAnswer:
        log.debug("HTTP request: %s %s", call.method, call.path)
        for route in ROUTES:
            parts = route.pattern.fullmatch(call.path)
            if parts is None:
                continue
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
