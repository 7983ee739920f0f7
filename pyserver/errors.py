"""The one tree of errors a client can see: each class knows Triton's code; the maps to HTTP and
gRPC are below.

Source: TRITONSERVER_Error_Code and the mappings of Triton's HTTP and gRPC front ends.
"""

from __future__ import annotations

from typing import ClassVar, Final


class ServerError(Exception):
    """An error with one of Triton's codes. `str(error)` is exactly the text that the client
    receives.

    Raise a subclass; catch this one. `code` is the number that crosses process borders.
    """

    code: ClassVar[int] = 0
    code_name: ClassVar[str] = "Unknown"

    @property
    def message(self) -> str:
        return str(self)

    @property
    def http_status(self) -> int:
        return HTTP_STATUS[self.code]

    @property
    def grpc_status(self) -> int:
        return GRPC_STATUS[self.code]


class UnknownError(ServerError):
    """Nobody could tell what went wrong."""

    code = 0
    code_name = "Unknown"


class InternalError(ServerError):
    """The server or a model failed; also Triton's code for malformed JSON in a request."""

    code = 1
    code_name = "Internal"


class NotFoundError(ServerError):
    """No such model, version, region or path."""

    code = 2
    code_name = "Not found"


class InvalidArgumentError(ServerError):
    """The request or the model configuration is wrong."""

    code = 3
    code_name = "Invalid argument"


class UnavailableError(ServerError):
    """Not now: loading, shutting down, a queue is full, a process died."""

    code = 4
    code_name = "Unavailable"


class UnsupportedError(ServerError):
    """Understood, and not offered."""

    code = 5
    code_name = "Unsupported"


class AlreadyExistsError(ServerError):
    """The name is taken."""

    code = 6
    code_name = "Already exists"


class CancelledError(ServerError):
    """The client went away or asked to stop."""

    code = 7
    code_name = "Cancelled"


ERRORS: Final[tuple[type[ServerError], ...]] = (
    UnknownError,
    InternalError,
    NotFoundError,
    InvalidArgumentError,
    UnavailableError,
    UnsupportedError,
    AlreadyExistsError,
    CancelledError,
)

# Indexed by code, in the order of ERRORS.
HTTP_STATUS: Final[tuple[int, ...]] = (400, 500, 404, 400, 503, 501, 400, 400)

# Indexed by code; the numbers of grpc.StatusCode, written out so that nothing here imports grpc:
# UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARGUMENT, UNAVAILABLE, UNIMPLEMENTED, ALREADY_EXISTS,
# CANCELLED.
GRPC_STATUS: Final[tuple[int, ...]] = (2, 13, 5, 3, 14, 12, 6, 1)


def make_error(code: int, message: str) -> ServerError:
    """The error of a code that came from another process; a number out of range is Unknown."""
    kind = ERRORS[code] if 0 <= code < len(ERRORS) else UnknownError
    return kind(message)
