"""What is the same for every call: who may make it, and how a refusal reaches the client."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from pyserver.control.services import Services
from pyserver.errors import InternalError, ServerError, UnavailableError

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Received = TypeVar("Received", bound=Message)
Unary = Callable[[Received], Awaitable[Message]]
Stream = Callable[[AsyncIterator[Received]], AsyncIterator[Message]]
Watch = Callable[[Received], AsyncIterator[Message]]

_STATUS: Final = {status.value[0]: status for status in grpc.StatusCode}
# Clients take up to 8 KiB of trailers, in which each byte beyond ASCII counts three times.
_MOST_DETAIL_BYTES: Final = 2048


class Calls:
    """Makes gRPC's method handlers of functions that take a message and raise ServerErrors.

    Frontends have judged by the restrictions of its category what comes here.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def unary(
        self, category: str, request_type: type[Received], answer: Unary[Received]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        async def serve(received: bytes, context: Context) -> bytes:
            try:
                self._admit(category)
                answered = await answer(_parsed(request_type, received))
            except Exception as error:
                await _abort(context, error)
            return answered.SerializeToString()

        # (grpcio never answers a unary call that brings no message: frontends refuse those.)
        return grpc.unary_unary_rpc_method_handler(serve)

    def stream(
        self, category: str, request_type: type[Received], answers: Stream[Received]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Of requests and answers; `answers` sees the requests one after the other."""

        async def requests(context: Context) -> AsyncIterator[Received]:
            # Not by grpcio's iterator: that one complains on stderr when its call is cancelled.
            while (received := await context.read()) is not grpc.aio.EOF:
                yield _parsed(request_type, received)

        async def serve(_: object, context: Context) -> AsyncIterator[bytes]:
            def begin() -> AsyncIterator[Message]:
                return answers(requests(context))

            async for answer in self._answered(category, context, begin):
                yield answer

        return grpc.stream_stream_rpc_method_handler(serve)

    def watch(
        self, category: str, request_type: type[Received], answers: Watch[Received]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Of a stream of answers to a single request."""

        async def serve(received: bytes, context: Context) -> AsyncIterator[bytes]:
            def begin() -> AsyncIterator[Message]:
                return answers(_parsed(request_type, received))

            async for answer in self._answered(category, context, begin):
                yield answer

        return grpc.unary_stream_rpc_method_handler(serve)

    async def _answered(
        self, category: str, context: Context, begin: Callable[[], AsyncIterator[Message]]
    ) -> AsyncIterator[bytes]:
        try:
            self._admit(category)
            async for answer in begin():
                yield answer.SerializeToString()
        except Exception as error:
            await _abort(context, error)

    def _admit(self, category: str) -> None:
        if self._services.operations.exiting and category != "health":
            raise UnavailableError(
                "GRPC server is shutting down and has stopped accepting new requests."
            )


def _parsed(request_type: type[Received], received: bytes) -> Received:
    try:
        return request_type.FromString(received)
    except DecodeError as error:
        raise InternalError("Unable to parse request") from error


async def _abort(context: Context, error: Exception) -> NoReturn:
    """Ends the call with the error's status."""
    if isinstance(error, ServerError):
        await context.abort(_STATUS[error.grpc_status], _detail(str(error)))
    log.error("the answer to a gRPC call failed", exc_info=error)
    await context.abort(
        grpc.StatusCode.INTERNAL, "internal error; the server's log has the details"
    )


def _detail(text: str) -> str:
    """The text as a trailer: Unicode without lone surrogates, and short enough for any client."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > _MOST_DETAIL_BYTES:
        encoded = encoded[:_MOST_DETAIL_BYTES].decode("utf-8", "ignore").encode() + " …".encode()
    return encoded.decode("utf-8")
