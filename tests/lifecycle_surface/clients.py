"""Triton's own clients, each used in the same way: results are plain data, refusals are texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import grpc as grpc_channels
import numpy as np
from tritonclient import grpc, http
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from bench.targets.process import Ports
from tests.lifecycle_surface.steps import GRPC, HTTP, Call, Infer, Load, Post, Unload

PATIENCE_S: Final = 30.0
_KINDS: Final = {HTTP: http, GRPC: grpc}


class Clients:
    """Of one server. May be used by several threads."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    @contextmanager
    def _client(self, protocol: str) -> Iterator[Any]:
        if protocol == HTTP:
            client: Any = http.InferenceServerClient(
                f"127.0.0.1:{self._ports.http}", network_timeout=PATIENCE_S
            )
        else:
            client = grpc.InferenceServerClient(f"127.0.0.1:{self._ports.grpc}")
        with client:
            yield client

    def said(self, protocol: str, ask: Callable[[Any], Any]) -> Any:
        """What `ask` gives, or the status and text of the refusal."""
        with self._client(protocol) as client:
            try:
                return ask(client)
            except InferenceServerException as error:
                status = (error.status() or "").removeprefix("StatusCode.")
                return f"{status}: {error.message()}"

    def load(self, protocol: str, step: Load) -> Any:
        more: dict[str, Any] = {} if step.config is None else {"config": step.config}
        if step.files:
            more["files"] = dict(step.files)
        return self.said(protocol, lambda client: client.load_model(step.model, **more))

    def unload(self, protocol: str, step: Unload) -> Any:
        return self.said(
            protocol,
            lambda client: client.unload_model(step.model, unload_dependents=step.dependents),
        )

    def index(self, protocol: str, *, ready: bool = False) -> list[dict[str, str]] | str:
        def ask(client: Any) -> list[dict[str, str]]:
            if protocol == HTTP:
                if ready:
                    # The client has no way to ask for it.
                    answer = client._post("v2/repository/index", '{"ready": true}', {}, None)
                    return list(json.loads(answer.read()))
                return list(client.get_model_repository_index())
            if ready:
                asked = service_pb2.RepositoryIndexRequest(ready=True)
                found = client._client_stub.RepositoryIndex(asked).models
            else:
                found = client.get_model_repository_index().models
            return [{field.name: value for field, value in model.ListFields()} for model in found]

        said = self.said(protocol, ask)
        if isinstance(said, str):
            return said
        return sorted(said, key=lambda line: (line["name"], line.get("version", "")))

    def ready(self, protocol: str, model: str, version: str) -> Any:
        if not model:
            return self.said(protocol, lambda client: client.is_server_ready())
        return self.said(protocol, lambda client: client.is_model_ready(model, version))

    def told(self, protocol: str, model: str, version: str) -> dict[str, Any]:
        as_json = {"as_json": True} if protocol == GRPC else {}
        metadata = self.said(
            protocol, lambda client: client.get_model_metadata(model, version, **as_json)
        )
        config = self.said(
            protocol, lambda client: client.get_model_config(model, version, **as_json)
        )
        statistics = self.said(
            protocol, lambda client: client.get_inference_statistics(model, version, **as_json)
        )
        return {
            "metadata": metadata if isinstance(metadata, str) else metadata["versions"],
            "config": config if isinstance(config, str) else _of_config(config),
            "statistics": statistics
            if isinstance(statistics, str)
            else [f"{one['name']}:{one['version']}" for one in statistics.get("model_stats", [])],
        }

    def infer(self, protocol: str, step: Infer, plain: bool) -> Any:
        """`plain`: the model is of the identity backend, or an ensemble."""
        kind = _KINDS[protocol]
        value = np.array([1 if step.holds else 0], np.int32)
        tensor = kind.InferInput("INPUT0" if plain else "X", [1], "INT32")
        tensor.set_data_from_numpy(value)

        def ask(client: Any) -> str:
            result = client.infer(step.model, [tensor], model_version=step.version)
            answer = result.get_response()
            if protocol == GRPC:
                came = f"{answer.model_name} {answer.model_version}"
            else:
                came = f"{answer['model_name']} {answer['model_version']}"
            return came if plain else f"{came} {result.as_numpy('SAYS')[0].decode()}"

        return self.said(protocol, ask)

    def post(self, step: Post) -> Any:
        with self._client(HTTP) as client:
            body = step.body if isinstance(step.body, str) else json.dumps(step.body)
            answer = client._post(step.path, body, {}, None)
            return f"{answer.status_code}: {answer.read().decode()}"

    def call(self, step: Call) -> Any:
        request = getattr(service_pb2, f"{step.method}Request")(**step.request)
        for name, (kind, value) in step.parameters.items():
            setattr(request.parameters[name], kind, value)
        with grpc_channels.insecure_channel(f"127.0.0.1:{self._ports.grpc}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            try:
                getattr(stub, step.method)(request, timeout=PATIENCE_S)
            except grpc_channels.RpcError as error:
                return f"{error.code().name}: {error.details()}"
            return None


def _of_config(config: Mapping[str, Any]) -> dict[str, Any]:
    config = config.get("config", config)
    given = {
        "name": config["name"],
        "max_batch_size": int(config.get("max_batch_size", 0)),
        "version_policy": config.get("version_policy", {}),
        "parameters": {
            name: value["string_value"] for name, value in config.get("parameters", {}).items()
        },
    }
    # The folder of the gates is another one each time.
    return json.loads(json.dumps(given))
