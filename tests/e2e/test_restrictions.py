"""Every category of the API restricted, on both protocols, each with a header of its own, and asked
for by the stock clients.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from bench.targets.pyserver import Pyserver
from pyserver._core import API_CATEGORIES, api_table
from pyserver.control.grpc_stubs import health_pb2, reflection_pb2
from tests.e2e.conftest import REPOSITORIES
from tests.serving import serving

MODEL = "identity_fp32"
Call = Callable[[Any, Mapping[str, str]], Any]


def _secret(category: str) -> str:
    return f"open-{category}"


def _http_name(category: str) -> str:
    # One that concerns a single connection, so that the frontend keeps it to itself.
    return "Proxy-Authorization" if category == "logging" else f"X-{category}"


def _http_headers(category: str) -> dict[str, str]:
    return {_http_name(category): _secret(category)}


def _grpc_headers(category: str) -> dict[str, str]:
    return {f"triton-grpc-protocol-{category}": _secret(category)}


@pytest.fixture(scope="module")
def restricted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    log = tmp_path_factory.mktemp("restricted") / "server.log"
    flags = [
        flag
        for category in API_CATEGORIES
        for flag in (
            f"--http-restricted-api={category}:{_http_name(category)}={_secret(category)}",
            f"--grpc-restricted-protocol={category}:{category}={_secret(category)}",
        )
    ]
    explicit = ["--model-control-mode=explicit", f"--load-model={MODEL}", "--frontend-workers=1"]
    with serving(log, REPOSITORIES[1], *explicit, *flags) as running:
        yield running


@pytest.fixture(scope="module")
def over_http(restricted: Pyserver) -> Iterator[http_client.InferenceServerClient]:
    assert restricted.ports is not None
    with http_client.InferenceServerClient(f"127.0.0.1:{restricted.ports.http}") as client:
        yield client


@pytest.fixture(scope="module")
def over_grpc(restricted: Pyserver) -> Iterator[grpc_client.InferenceServerClient]:
    assert restricted.ports is not None
    with grpc_client.InferenceServerClient(f"127.0.0.1:{restricted.ports.grpc}") as client:
        yield client


def _infer(module: Any) -> Call:
    def call(client: Any, headers: Mapping[str, str]) -> Any:
        data = np.array([[1, 2]], np.float32)
        tensor = module.InferInput("INPUT0", [1, 2], "FP32")
        tensor.set_data_from_numpy(data)
        result = client.infer(MODEL, [tensor], headers=headers)
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), data)

    return call


# One call of each category that both stock clients have under the same name. Health is apart: the
# clients make a bool of it.
CALLS: dict[str, Call] = {
    "metadata": lambda client, headers: client.get_model_metadata(MODEL, headers=headers),
    "model-config": lambda client, headers: client.get_model_config(MODEL, headers=headers),
    "model-repository": lambda client, headers: client.load_model(MODEL, headers=headers),
    "statistics": lambda client, headers: client.get_inference_statistics(MODEL, headers=headers),
    "shared-memory": lambda client, headers: client.get_system_shared_memory_status(
        headers=headers
    ),
    "trace": lambda client, headers: client.get_trace_settings(headers=headers),
    "logging": lambda client, headers: client.get_log_settings(headers=headers),
}


def _expect_refusal(status: str, text: str, call: Callable[[], Any]) -> None:
    with pytest.raises(InferenceServerException) as raised:
        call()
    assert (raised.value.status(), raised.value.message()) == (status, text)


def _passes(call: Callable[[], Any]) -> None:
    """The policy lets the call through; that core has no such endpoint yet is another matter."""
    try:
        call()
    except InferenceServerException as error:
        assert error.status() in ("404", "StatusCode.UNIMPLEMENTED"), error


def test_every_category_is_tried() -> None:
    assert {*CALLS, "health", "inference"} == set(API_CATEGORIES)


@pytest.mark.parametrize("category", [*CALLS, "inference"])
def test_http_calls_need_the_header_of_their_category(over_http, category: str) -> None:
    call = CALLS.get(category, _infer(http_client))
    name, value = _http_name(category), _secret(category)
    text = f"This API is restricted, expecting header '{name}'"
    for wrong in ({}, {name: ""}, {name: value + "x"}, {"X-other": value}):
        _expect_refusal("403", text, lambda wrong=wrong: call(over_http, wrong))
    _passes(lambda: call(over_http, {name: value}))
    _passes(lambda: call(over_http, {name.upper(): value}))


@pytest.mark.parametrize("category", [*CALLS, "inference"])
def test_grpc_calls_need_the_header_of_their_category(over_grpc, category: str) -> None:
    call = CALLS.get(category, _infer(grpc_client))
    name, value = f"triton-grpc-protocol-{category}", _secret(category)
    text = f"This protocol is restricted, expecting header '{name}'"
    for wrong in ({}, {name: ""}, {name: value + "x"}, {category: value}):
        _expect_refusal("StatusCode.UNAVAILABLE", text, lambda wrong=wrong: call(over_grpc, wrong))
    _passes(lambda: call(over_grpc, {name: value}))


def test_health_is_restricted_on_both(over_http, over_grpc) -> None:
    for ask in ("is_server_live", "is_server_ready"):
        assert not getattr(over_http, ask)()
        assert not getattr(over_http, ask)(headers={"X-health": "wrong"})
        assert getattr(over_http, ask)(headers=_http_headers("health"))
        with pytest.raises(InferenceServerException, match="'triton-grpc-protocol-health'"):
            getattr(over_grpc, ask)()
        assert getattr(over_grpc, ask)(headers=_grpc_headers("health"))
    assert not over_http.is_model_ready(MODEL)
    assert over_http.is_model_ready(MODEL, headers=_http_headers("health"))
    assert over_grpc.is_model_ready(MODEL, headers=_grpc_headers("health"))


def test_a_restricted_path_is_refused_whatever_the_method(restricted: Pyserver) -> None:
    assert restricted.ports is not None
    for category, pattern, _ in api_table():
        if not pattern:
            continue
        path = pattern.replace("[/versions/{version}]", "").replace("{model}", MODEL)
        path = path.replace("[/{repository}]", "").replace("[/region/{region}]", "/region/r")
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            connection = http.client.HTTPConnection("127.0.0.1", restricted.ports.http, timeout=10)
            connection.request(method, path)
            answer = connection.getresponse()
            body = json.loads(answer.read())
            connection.close()
            assert answer.status == 403, (method, path)
            text = f"This API is restricted, expecting header '{_http_name(category)}'"
            assert body == {"error": text}, (method, path)


def test_every_grpc_method_is_refused_without_its_header(restricted: Pyserver) -> None:
    assert restricted.ports is not None
    with grpc.insecure_channel(f"127.0.0.1:{restricted.ports.grpc}") as channel:
        for category, _, method in api_table():
            if not method:
                continue
            with pytest.raises(grpc.RpcError) as raised:
                channel.unary_unary(method)(b"\xff", timeout=10)
            text = (
                f"This protocol is restricted, expecting header 'triton-grpc-protocol-{category}'"
            )
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE, method
            assert raised.value.details() == text, method


def test_health_checks_and_reflection_pass_with_their_header(restricted: Pyserver) -> None:
    assert restricted.ports is not None
    with grpc.insecure_channel(f"127.0.0.1:{restricted.ports.grpc}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        answer = check(b"", timeout=10, metadata=tuple(_grpc_headers("health").items()))
        assert health_pb2.HealthCheckResponse.FromString(answer).status == 1
        for package in ("v1", "v1alpha"):
            reflect = channel.stream_stream(
                f"/grpc.reflection.{package}.ServerReflection/ServerReflectionInfo"
            )
            asked = reflection_pb2.ServerReflectionRequest(list_services="*").SerializeToString()
            answers = reflect(
                iter([asked]), timeout=10, metadata=tuple(_grpc_headers("metadata").items())
            )
            (listed,) = map(reflection_pb2.ServerReflectionResponse.FromString, answers)
            assert listed.list_services_response.service


def test_a_stream_is_inference(restricted: Pyserver) -> None:
    assert restricted.ports is not None
    request = service_pb2.ModelInferRequest(model_name="absent")
    with grpc.insecure_channel(f"127.0.0.1:{restricted.ports.grpc}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            list(stub.ModelStreamInfer(iter([request]), timeout=10))
        assert "triton-grpc-protocol-inference" in raised.value.details()
        metadata = tuple(_grpc_headers("inference").items())
        (answer,) = stub.ModelStreamInfer(iter([request]), timeout=10, metadata=metadata)
        assert "unknown model" in answer.error_message


TRICKS = ("/V2", "/v2/", "//v2", "/v2%2f", "/v2;x", "/./v2", "/v2/health/../../v2", "/%76%32")


@pytest.mark.parametrize("path", TRICKS)
def test_other_spellings_lead_nowhere(restricted: Pyserver, path: str) -> None:
    assert restricted.ports is not None
    connection = http.client.HTTPConnection("127.0.0.1", restricted.ports.http, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (404, {"error": "Not Found"})
    connection.close()


def test_the_other_port_asks_for_its_own_header_too(restricted: Pyserver) -> None:
    """Who may reach one port only must not get around its restrictions by the other protocol."""
    assert restricted.ports is not None
    own, http_too = _grpc_headers("metadata"), {"x-metadata": _secret("metadata")}
    with grpc_client.InferenceServerClient(f"127.0.0.1:{restricted.ports.http}") as client:
        with pytest.raises(InferenceServerException, match="expecting header 'X-metadata'"):
            client.get_model_metadata(MODEL, headers=own)
        with pytest.raises(InferenceServerException, match="expecting header 'triton-grpc-prot"):
            client.get_model_metadata(MODEL, headers=http_too)
        assert client.get_model_metadata(MODEL, headers=own | http_too).name == MODEL
    with http_client.InferenceServerClient(f"127.0.0.1:{restricted.ports.grpc}") as client:
        with pytest.raises(InferenceServerException, match="expecting header 'triton-grpc-prot"):
            client.get_model_metadata(MODEL, headers=_http_headers("metadata"))
        headers = _http_headers("metadata") | own
        assert client.get_model_metadata(MODEL, headers=headers)["name"] == MODEL
