"""Log settings and clients' shared memory over HTTP."""

from __future__ import annotations

from typing import Final

from pyserver.control.client_regions import refuse_change, refuse_unknown
from pyserver.control.http_call import HttpAnswer, HttpCall, json_answer
from pyserver.control.json_body import parse_object
from pyserver.control.services import Parts, Route, Services, route

_REGION: Final = r"/v2/(?P<kind>system|cuda)sharedmemory(?:/region/(?P<region>[^/]+))?"


async def _log_settings(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    return json_answer(services.logs.view())


async def _update_log_settings(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    return json_answer(services.logs.update(parse_object(call.body)))


async def _region_status(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    if parts["region"] is not None:
        refuse_unknown(parts["kind"] or "", parts["region"])
    return json_answer([])


async def _change_region(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    refuse_change(services.settings)


ROUTES: Final[tuple[Route, ...]] = (
    route(r"/v2/logging", "logging", GET=_log_settings, POST=_update_log_settings),
    route(_REGION + "/status", "shared-memory", GET=_region_status),
    route(_REGION + "/(?:register|unregister)", "shared-memory", POST=_change_region),
)
