"""The model repository extension over HTTP: index, load, unload."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from pyserver.control.http_call import JSON_TYPE, HttpAnswer, HttpCall, json_answer
from pyserver.control.json_body import member, parse_object
from pyserver.control.services import Parts, Route, Services, route
from pyserver.errors import InternalError, InvalidArgumentError, UnsupportedError
from pyserver.repository.override import FILE_PREFIX
from pyserver.repository.registry import IndexEntry

_DONE: Final = HttpAnswer(content_type=JSON_TYPE)
_REPOSITORY: Final = r"/v2/repository(?:/(?P<repository>[^/]+))?"
_MODEL: Final = _REPOSITORY + r"/models/(?P<model>[^/]+)"


async def _index(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    ready_only = parse_object(call.body).get("ready", False)
    if not isinstance(ready_only, bool):
        raise InvalidArgumentError("Invalid value for 'ready': expected a boolean")
    lines = await services.operations.repository_index(ready_only=ready_only)
    return json_answer([_index_line(line) for line in lines])


def _index_line(line: IndexEntry) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": line.name}
    if line.version is not None:
        shown["version"] = str(line.version)
    if line.state:
        shown["state"] = line.state
    if line.reason:
        shown["reason"] = line.reason
    return shown


async def _load(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    _refuse_repository(parts)
    given = parse_object(call.body).get("parameters", {})
    if not isinstance(given, dict):
        raise InternalError("attempt to get members for non-object")
    parameters = {name: _load_parameter(given, name) for name in given}
    await services.operations.load_model(parts["model"] or "", parameters)
    return _DONE


def _load_parameter(given: dict[str, Any], name: str) -> str | bytes:
    """Text as it is, files from base64."""
    value: str = member(given, name, str, "")
    if name == "config":
        return value
    if not name.startswith(FILE_PREFIX):
        raise InternalError("unexpected error on creating Triton parameter")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgumentError(
            f"load parameter '{name}' must be the file's content in base64: {error}"
        ) from error


async def _unload(services: Services, call: HttpCall, parts: Parts) -> HttpAnswer:
    _refuse_repository(parts)
    services.operations.refuse_unless_explicit()
    given = member(parse_object(call.body), "parameters", dict, {})
    try:
        dependents = member(given, "unload_dependents", bool, False)
    except InternalError as error:
        raise InternalError(f"Unable to parse 'unload_dependents': {error}") from error
    await services.operations.unload_model(parts["model"] or "", unload_dependents=dependents)
    return _DONE


def _refuse_repository(parts: Parts) -> None:
    if parts["repository"] is not None:
        raise UnsupportedError("'repository_name' specification is not supported")


ROUTES: Final[tuple[Route, ...]] = (
    route(_REPOSITORY + "/index", "model-repository", POST=_index),
    route(_MODEL + "/load", "model-repository", POST=_load),
    route(_MODEL + "/unload", "model-repository", POST=_unload),
)
