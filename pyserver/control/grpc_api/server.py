"""The grpc.aio server: its services, its listener, its end."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from typing import Any, Final

import grpc

from pyserver.control.grpc_api import methods_models, methods_repository, methods_settings
from pyserver.control.grpc_api.calls import Calls
from pyserver.control.grpc_api.health import Health
from pyserver.control.grpc_api.link import listen_without_name
from pyserver.control.grpc_api.methods import Method
from pyserver.control.grpc_api.reflection import V1, V1ALPHA, Reflection
from pyserver.control.grpc_stubs import grpc_service_pb2, health_pb2, reflection_pb2
from pyserver.control.services import Services

log = logging.getLogger(__name__)

INFERENCE_SERVICE: Final = "inference.GRPCInferenceService"
HEALTH_SERVICE: Final = "grpc.health.v1.Health"
# What is in no table is not served.
METHODS: Final[Mapping[str, Method]] = {
    **methods_models.METHODS,
    **methods_repository.METHODS,
    **methods_settings.METHODS,
}
# Frontends have applied the limits of the outside already, and ping as they like.
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 1 << 20),
    ("grpc.keepalive_time_ms", 2**31 - 1),
    ("grpc.http2.max_ping_strikes", 0),
)
# Nearly all that can be pending are watches of the health, and loads.
_MOST_CALLS_AT_ONCE: Final = 4096


class GrpcServer:
    """Everything of gRPC but inference. Belongs to the control plane's event loop."""

    def __init__(self, server: grpc.aio.Server, health: Health, link_fd: int) -> None:
        self._server = server
        self._health = health
        self.link_fd = link_fd

    @classmethod
    async def start(cls, services: Services) -> GrpcServer:
        """Returns when the server takes connections at `link_fd`."""
        health = Health(services.operations)
        server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_MOST_CALLS_AT_ONCE)
        server.add_generic_rpc_handlers(_service_handlers(Calls(services), services, health))
        link_fd = listen_without_name(server.add_insecure_port)
        await server.start()
        return cls(server, health, link_fd)

    def notice_health(self) -> None:
        """To be called when the server's readiness may have changed."""
        self._health.notice()

    async def close(self, grace_s: float = 1.0) -> None:
        """Takes no new calls, ends watches, and gives the others so much time to end."""
        if self.link_fd >= 0:
            os.close(self.link_fd)
            self.link_fd = -1
        self._health.close()
        await self._server.stop(grace_s)


def _service_handlers(
    calls: Calls, services: Services, health: Health
) -> tuple[grpc.GenericRpcHandler, ...]:
    reflection = Reflection((INFERENCE_SERVICE, HEALTH_SERVICE, V1, V1ALPHA))
    reflect = calls.stream("metadata", reflection_pb2.ServerReflectionRequest, reflection.answers)
    asked = health_pb2.HealthCheckRequest
    served: Mapping[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {
        INFERENCE_SERVICE: {
            name: calls.unary(
                method.category,
                getattr(grpc_service_pb2, f"{name}Request"),
                functools.partial(method.answer, services),
            )
            for name, method in METHODS.items()
        },
        HEALTH_SERVICE: {
            "Check": calls.unary("health", asked, health.check),
            "Watch": calls.watch("health", asked, health.watch),
        },
        V1: {"ServerReflectionInfo": reflect},
        V1ALPHA: {"ServerReflectionInfo": reflect},
    }
    return tuple(
        grpc.method_handlers_generic_handler(service, handlers)
        for service, handlers in served.items()
    )
