"""Log settings and clients' shared memory over HTTP.

Clients' shared memory is off, which is Triton's default too: the status lists are empty and
registering is refused with the text for a server that has it switched off.
"""

from __future__ import annotations

from typing import Final

from pyserver.control.http_call import HttpAnswer, HttpCall, json_answer
from pyserver.control.json_body import parse_object
from pyserver.control.services import Parts, Route, Services, route
from pyserver.errors import NotFoundError, UnsupportedError

_REGION: Final = r"/v2/(?P<kind>system|cuda)sharedmemory(?:/region/(?P<region>[^/]+))?"


async def _log_settings(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    return json_answer(services.logs.view())


async def _update_log_settings(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    return json_answer(services.logs.update(parse_object(call.body)))


async def _region_status(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    if parts["region"] is not None:
        raise NotFoundError(
            f"Unable to find {parts['kind']} shared memory region: '{parts['region']}'"
        )
    return json_answer([])


async def _change_region(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    if services.settings.allow_client_shm:
        raise UnsupportedError("Client shared memory is not part of this version of pyserver.")
    raise UnsupportedError(
        "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to"
        " enable."
    )


ROUTES: Final[tuple[Route, ...]] = (
    route(r"/v2/logging", "logging", GET=_log_settings, POST=_update_log_settings),
    route(_REGION + "/status", "shared-memory", GET=_region_status),
    route(_REGION + "/(?:register|unregister)", "shared-memory", POST=_change_region),
)
