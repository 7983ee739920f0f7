"""The model repository extension over gRPC: index, load, unload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pyserver.control.grpc_api.methods import Method
from pyserver.control.grpc_stubs import grpc_service_pb2 as pb
from pyserver.control.services import Services
from pyserver.errors import InvalidArgumentError, UnsupportedError
from pyserver.repository.override import FILE_PREFIX
from pyserver.repository.registry import IndexEntry


async def _index(
    services: Services, request: pb.RepositoryIndexRequest
) -> pb.RepositoryIndexResponse:
    _refuse_repository(request.repository_name)
    lines = await services.operations.repository_index(ready_only=request.ready)
    return pb.RepositoryIndexResponse(models=[_index_line(line) for line in lines])


def _index_line(line: IndexEntry) -> pb.RepositoryIndexResponse.ModelIndex:
    return pb.RepositoryIndexResponse.ModelIndex(
        name=line.name,
        version="" if line.version is None else str(line.version),
        state=line.state,
        reason=line.reason,
    )


async def _load(
    services: Services, request: pb.RepositoryModelLoadRequest
) -> pb.RepositoryModelLoadResponse:
    _refuse_repository(request.repository_name)
    given = {name: _load_parameter(name, value) for name, value in request.parameters.items()}
    await services.operations.load_model(request.model_name, given)
    return pb.RepositoryModelLoadResponse()


def _load_parameter(name: str, value: pb.ModelRepositoryParameter) -> str | bytes:
    wanted = "string_param" if name == "config" else "bytes_param"
    if name != "config" and not name.startswith(FILE_PREFIX):
        raise InvalidArgumentError(f"unrecognized load parameter '{name}'.")
    if value.WhichOneof("parameter_choice") != wanted:
        raise InvalidArgumentError(
            f"invalid value type for load parameter '{name}', expected {wanted}."
        )
    return value.string_param if name == "config" else value.bytes_param


async def _unload(
    services: Services, request: pb.RepositoryModelUnloadRequest
) -> pb.RepositoryModelUnloadResponse:
    _refuse_repository(request.repository_name)
    with_dependents = False
    for name, value in request.parameters.items():
        if name != "unload_dependents":
            continue
        if value.WhichOneof("parameter_choice") != "bool_param":
            raise InvalidArgumentError(
                f"invalid value type for '{name}' parameter, expected bool_param."
            )
        with_dependents = value.bool_param
    await services.operations.unload_model(request.model_name, unload_dependents=with_dependents)
    return pb.RepositoryModelUnloadResponse()


def _refuse_repository(name: str) -> None:
    if name:
        raise UnsupportedError("'repository_name' specification is not supported")


METHODS: Final[Mapping[str, Method]] = {
    "RepositoryIndex": Method("model-repository", _index),
    "RepositoryModelLoad": Method("model-repository", _load),
    "RepositoryModelUnload": Method("model-repository", _unload),
}
