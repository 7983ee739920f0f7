"""Health, metadata, config and statistics over gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.json_format import ParseDict

from pyserver.control.grpc_api.methods import Method
from pyserver.control.grpc_stubs import grpc_service_pb2 as pb
from pyserver.control.operations import parse_version
from pyserver.control.services import Services


async def _server_live(services: Services, request: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
    return pb.ServerLiveResponse(live=services.operations.server_live())


async def _server_ready(
    services: Services, request: pb.ServerReadyRequest
) -> pb.ServerReadyResponse:
    return pb.ServerReadyResponse(ready=services.operations.server_ready())


async def _model_ready(services: Services, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
    version = parse_version(request.version)
    ready = await services.operations.model_ready(request.name, version)
    return pb.ModelReadyResponse(ready=ready)


async def _server_metadata(
    services: Services, request: pb.ServerMetadataRequest
) -> pb.ServerMetadataResponse:
    return ParseDict(services.operations.server_metadata(), pb.ServerMetadataResponse())


async def _model_metadata(
    services: Services, request: pb.ModelMetadataRequest
) -> pb.ModelMetadataResponse:
    version = parse_version(request.version)
    found = services.operations.model_metadata(request.name, version)
    return ParseDict(found, pb.ModelMetadataResponse())


async def _model_config(
    services: Services, request: pb.ModelConfigRequest
) -> pb.ModelConfigResponse:
    version = parse_version(request.version)
    config = services.operations.completed_config(request.name, version)
    return pb.ModelConfigResponse(config=config)


async def _model_statistics(
    services: Services, request: pb.ModelStatisticsRequest
) -> pb.ModelStatisticsResponse:
    version = parse_version(request.version)
    # Without a name it is every version of every model, whatever version is asked for.
    operations = services.operations
    found = (
        operations.statistics(request.name, version) if request.name else operations.statistics()
    )
    return ParseDict(found, pb.ModelStatisticsResponse())


METHODS: Final[Mapping[str, Method]] = {
    "ServerLive": Method("health", _server_live),
    "ServerReady": Method("health", _server_ready),
    "ModelReady": Method("health", _model_ready),
    "ServerMetadata": Method("metadata", _server_metadata),
    "ModelMetadata": Method("metadata", _model_metadata),
    "ModelConfig": Method("model-config", _model_config),
    "ModelStatistics": Method("statistics", _model_statistics),
}
