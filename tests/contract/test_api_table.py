"""The frontends' table of endpoints against what core serves: whatever core has a route or a method
for stands in the table under the same category, and core reads no path otherwise than the table.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

import pytest

from pyserver._core import API_CATEGORIES, api_category, api_table
from pyserver.control.grpc_api.calls import Calls
from pyserver.control.grpc_api.health import Health
from pyserver.control.grpc_api.server import METHODS, _service_handlers
from pyserver.control.grpc_stubs import grpc_service_pb2, health_pb2, reflection_pb2
from pyserver.control.routes import ROUTES
from pyserver.control.services import Route
from tests.control.routes_bench import Bench

CATEGORY_OF_METHOD = {method: category for category, _, method in api_table() if method}


def of_table(pattern: str) -> Iterator[str]:
    """Paths that a pattern of the table stands for: with and without each optional part."""
    parts = re.split(r"\[([^]]*)\]", pattern)
    choices = [("", part) if index % 2 else (part,) for index, part in enumerate(parts)]
    for chosen in itertools.product(*choices):
        path = "".join(chosen).replace("{version}", "7")
        yield re.sub(r"\{\w+\}", "name", path)


def of_route(parsed: Iterable[tuple[object, object]]) -> Iterator[str]:
    """Paths that a route's regular expression stands for, one for each way through it."""
    pieces: list[list[str]] = []
    for operation, argument in parsed:
        match str(operation), argument:
            case "LITERAL", int() as character:
                pieces.append([chr(character)])
            case "SUBPATTERN", (_, _, _, inner):
                pieces.append(list(of_route(inner)))
            case "BRANCH", (_, branches):
                pieces.append([path for branch in branches for path in of_route(branch)])
            case "MAX_REPEAT", (least, _, inner):
                once = list(of_route(inner))
                pieces.append(once if least else ["", *once])
            case "NOT_LITERAL", _:
                pieces.append(["name"])
            case "IN", [(kind, _), *_]:
                pieces.append(["name" if str(kind) == "NEGATE" else "7"])
            case other:
                raise AssertionError(f"the test does not understand {other}")
    for chosen in itertools.product(*pieces):
        yield "".join(chosen)


def served_by(path: str) -> Route | None:
    return next((route for route in ROUTES if route.pattern.fullmatch(path)), None)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.pattern.pattern)
def test_every_route_of_core_stands_in_the_table(route: Route) -> None:
    parsed = re._parser.parse(route.pattern.pattern)  # type: ignore[attr-defined]
    paths = list(of_route(parsed))
    assert paths and all(route.pattern.fullmatch(path) for path in paths)
    assert {path: api_category(path) for path in paths} == dict.fromkeys(paths, route.category)


@pytest.mark.parametrize(
    ("category", "pattern"), [(row[0], row[1]) for row in api_table() if row[1]]
)
def test_core_serves_no_row_under_another_category(category: str, pattern: str) -> None:
    for path in of_table(pattern):
        assert api_category(path) == category
        route = served_by(path)
        assert route is None or route.category == category


def _tricks(path: str) -> Iterator[str]:
    yield from (path + end for end in ("/", "//", ";a=b", "%20", "%00", "/.", "/..", "#", "é"))
    yield from (path.upper(), path[1:], "/" + path, "/." + path, "/x/.." + path, path + path)
    for index in (match.start() for match in re.finditer("/", path)):
        for other in ("//", "%2f", "%2F", "/./", "/../", "\\", ";/", "/%2e%2e/"):
            yield path[:index] + other + path[index + 1 :]
    for index in range(1, len(path)):
        yield f"{path[:index]}%{ord(path[index]):02x}{path[index + 1 :]}"
    yield path.replace("7", "٧").replace("7", "7a")
    yield path.replace("7", "٧")


def test_no_spelling_of_a_path_is_read_in_two_ways() -> None:
    """Core may know less than the table, but nothing under another category."""
    patterns = [pattern for _, pattern, _ in api_table() if pattern]
    spellings = {
        trick for pattern in patterns for path in of_table(pattern) for trick in _tricks(path)
    }
    assert len(spellings) > 2000
    for spelling in spellings:
        route = served_by(spelling)
        # A fragment is refused by the table alone.
        if route is not None and "#" not in spelling:
            assert api_category(spelling) == route.category, spelling


def test_every_method_of_core_stands_in_the_table() -> None:
    for name, method in METHODS.items():
        full_name = f"/inference.GRPCInferenceService/{name}"
        assert CATEGORY_OF_METHOD[full_name] == method.category
    services = Bench().services
    handlers = _service_handlers(Calls(services), services, Health(services.operations))
    served = {name for one in handlers for name in one._method_handlers}
    assert served and served <= CATEGORY_OF_METHOD.keys()


def test_every_method_of_the_services_stands_in_the_table() -> None:
    files = (grpc_service_pb2, health_pb2, reflection_pb2)
    methods = {
        f"/{service.full_name}/{method.name}"
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert methods <= CATEGORY_OF_METHOD.keys()


def test_every_category_has_endpoints_of_both_protocols() -> None:
    rows = api_table()
    assert {category for category, path, _ in rows if path} == set(API_CATEGORIES)
    assert {category for category, _, method in rows if method} == set(API_CATEGORIES)
