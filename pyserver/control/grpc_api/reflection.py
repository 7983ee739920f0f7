"""Server reflection over our own protobuf pool, in both of its versions.

Source: gRPC's server reflection protocol.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from pyserver.config import descriptor_pool
from pyserver.control.grpc_stubs import reflection_pb2 as pb
from pyserver.errors import InvalidArgumentError, NotFoundError, ServerError

V1: Final = "grpc.reflection.v1.ServerReflection"
V1ALPHA: Final = "grpc.reflection.v1alpha.ServerReflection"
_V1ALPHA_FILE: Final = "reflection_v1alpha.proto"


class Reflection:
    """Knows the names of the services that are served; all else is in the pool."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._services = services
        self._pool = descriptor_pool.Default()
        self._pool.AddSerializedFile(_v1alpha().SerializeToString(deterministic=True))

    async def answers(
        self, requests: AsyncIterator[pb.ServerReflectionRequest]
    ) -> AsyncIterator[pb.ServerReflectionResponse]:
        async for request in requests:
            yield self.answer(request)

    def answer(self, request: pb.ServerReflectionRequest) -> pb.ServerReflectionResponse:
        """The answer to one request; what is not there is an answer too."""
        answer = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
        try:
            self._look_up(request, answer)
        except ServerError as error:
            answer.error_response.error_code = error.grpc_status
            answer.error_response.error_message = str(error)
        return answer

    def _look_up(
        self, request: pb.ServerReflectionRequest, answer: pb.ServerReflectionResponse
    ) -> None:
        match request.WhichOneof("message_request"):
            case "list_services":
                answer.list_services_response.service.extend(
                    pb.ServiceResponse(name=name) for name in self._services
                )
            case "file_by_filename":
                _add_files(answer, self._file(request.file_by_filename))
            case "file_containing_symbol":
                _add_files(answer, self._file_of(request.file_containing_symbol))
            case "file_containing_extension":
                wanted = request.file_containing_extension
                self._require_type(wanted.containing_type)
                raise NotFoundError(
                    f"{wanted.containing_type} has no extension {wanted.extension_number}"
                )
            case "all_extension_numbers_of_type":
                self._require_type(request.all_extension_numbers_of_type)
                answer.all_extension_numbers_response.base_type_name = (
                    request.all_extension_numbers_of_type
                )
            case _:
                raise InvalidArgumentError("the request asks for nothing")

    def _file(self, name: str) -> FileDescriptor:
        try:
            return self._pool.FindFileByName(name)
        except KeyError as error:
            raise NotFoundError(f"there is no file '{name}'") from error

    def _file_of(self, symbol: str) -> FileDescriptor:
        with contextlib.suppress(KeyError):
            return self._pool.FindFileContainingSymbol(symbol)
        # The pool knows everything by name but methods.
        service, _, method = symbol.rpartition(".")
        with contextlib.suppress(KeyError):
            return (
                self._pool.FindServiceByName(service)
                .methods_by_name[method]
                .containing_service.file
            )
        raise NotFoundError(f"there is no symbol '{symbol}'")

    def _require_type(self, name: str) -> None:
        try:
            self._pool.FindMessageTypeByName(name)
        except KeyError as error:
            raise NotFoundError(f"there is no message '{name}'") from error


def _add_files(answer: pb.ServerReflectionResponse, file: FileDescriptor) -> None:
    answer.file_descriptor_response.file_descriptor_proto.extend(
        one.serialized_pb for one in _with_imports(file)
    )


def _with_imports(file: FileDescriptor) -> Iterator[FileDescriptor]:
    """The file itself, then each file that it needs, once."""
    found = {file.name: file}
    waiting = [file]
    while waiting:
        one = waiting.pop()
        yield one
        new = [needed for needed in one.dependencies if needed.name not in found]
        found |= {needed.name: needed for needed in new}
        waiting += new


def _v1alpha() -> FileDescriptorProto:
    """The older version, which differs from v1 in its package alone."""
    file = FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb)
    old, new = f".{file.package}.", f".{file.package}alpha."
    file.name = _V1ALPHA_FILE
    file.package += "alpha"
    fields = (one for message in file.message_type for one in message.field)
    for field in (one for one in fields if one.type_name):
        field.type_name = field.type_name.replace(old, new)
    for method in (one for service in file.service for one in service.method):
        method.input_type = method.input_type.replace(old, new)
        method.output_type = method.output_type.replace(old, new)
    return file
