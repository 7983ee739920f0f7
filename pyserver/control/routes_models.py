"""Health, metadata, config and statistics over HTTP."""

from __future__ import annotations

from typing import Final

from pyserver.control.http_call import (
    EMPTY,
    JSON_TYPE,
    HttpAnswer,
    HttpCall,
    accepts_json,
    error_answer,
    json_answer,
)
from pyserver.control.operations import parse_version
from pyserver.control.services import Parts, Route, Services, route

_NOT_READY: Final = HttpAnswer(400)
_MODEL: Final = r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[0-9]+))?"


async def _live(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    return EMPTY if services.operations.server_live() else _NOT_READY


async def _ready(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    reason = services.operations.reason_not_ready()
    return _readiness(call, reason, _NOT_READY)


async def _model_ready(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    version = parse_version(parts["version"])
    reason = await services.operations.reason_model_not_ready(parts["model"] or "", version)
    return _readiness(call, reason, error_answer(400, "Model version not ready"))


def _readiness(call: HttpCall, reason: str, not_ready: HttpAnswer) -> HttpAnswer:
    """As Triton's, but for who asks for JSON: who waits wants to know what for."""
    if not accepts_json(call):
        return not_ready if reason else EMPTY
    if reason:
        return json_answer({"ready": False, "reason": reason}, not_ready.status)
    return json_answer({"ready": True})


async def _server_metadata(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    return json_answer(services.operations.server_metadata())


async def _model_metadata(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    version = parse_version(parts["version"])
    return json_answer(services.operations.model_metadata(parts["model"] or "", version))


async def _model_config(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    version = parse_version(parts["version"])
    return json_answer(services.operations.model_config(parts["model"] or "", version))


async def _model_statistics(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    version = parse_version(parts["version"])
    return json_answer(services.operations.statistics(parts["model"] or "", version))


async def _all_statistics(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    return json_answer(services.operations.statistics())


async def _counters(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    return json_answer(await services.operations.counters())


async def _infer_elsewhere(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    """Frontends answer inference themselves; what comes here all the same found no way there."""
    return HttpAnswer(503, b'{"error":"inference is not served on this connection"}', JSON_TYPE)


ROUTES: Final[tuple[Route, ...]] = (
    route(r"/v2/health/live", "health", GET=_live),
    route(r"/v2/health/ready", "health", GET=_ready),
    route(r"/v2", "metadata", GET=_server_metadata),
    route(r"/v2/models/stats", "statistics", GET=_all_statistics),
    route(r"/v2/pyserver/counters", "statistics", GET=_counters),
    route(_MODEL + "/ready", "health", GET=_model_ready),
    route(_MODEL, "metadata", GET=_model_metadata),
    route(_MODEL + "/config", "model-config", GET=_model_config),
    route(_MODEL + "/stats", "statistics", GET=_model_statistics),
    route(_MODEL + "/infer", "inference", POST=_infer_elsewhere),
)
