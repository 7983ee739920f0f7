"""The tree of errors is the table of Triton's codes."""

from __future__ import annotations

import pytest

from pyserver import errors
from pyserver.errors import ServerError, make_error

# code, class, text of the code, HTTP status, gRPC status; from Triton's server.
TABLE = [
    (0, errors.UnknownError, "Unknown", 400, 2),
    (1, errors.InternalError, "Internal", 500, 13),
    (2, errors.NotFoundError, "Not found", 404, 5),
    (3, errors.InvalidArgumentError, "Invalid argument", 400, 3),
    (4, errors.UnavailableError, "Unavailable", 503, 14),
    (5, errors.UnsupportedError, "Unsupported", 501, 12),
    (6, errors.AlreadyExistsError, "Already exists", 400, 6),
    (7, errors.CancelledError, "Cancelled", 400, 1),
]


@pytest.mark.parametrize(("code", "kind", "name", "http", "grpc"), TABLE)
def test_each_class_knows_its_code(
    code: int, kind: type[ServerError], name: str, http: int, grpc: int
) -> None:
    error = make_error(code, "why")
    assert type(error) is kind
    assert (error.code, error.code_name) == (code, name)
    assert (error.http_status, error.grpc_status) == (http, grpc)
    assert (str(error), error.message) == ("why", "why")


@pytest.mark.parametrize("code", [-1, 8, 1000])
def test_a_code_that_nobody_knows_is_unknown(code: int) -> None:
    assert type(make_error(code, "why")) is errors.UnknownError


def test_the_numbers_are_those_of_grpc() -> None:
    grpc = pytest.importorskip("grpc")
    names = "UNKNOWN INTERNAL NOT_FOUND INVALID_ARGUMENT UNAVAILABLE UNIMPLEMENTED ALREADY_EXISTS"
    wanted = [getattr(grpc.StatusCode, name).value[0] for name in (*names.split(), "CANCELLED")]
    assert list(errors.GRPC_STATUS) == wanted
