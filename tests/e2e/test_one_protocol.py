"""Servers of one protocol alone: the other is served nowhere, and takes no memory."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client

from bench.targets.pyserver import Pyserver
from tests.crash.processes import processes_by_role
from tests.e2e.certificates import make_certificates
from tests.e2e.conftest import REPOSITORIES
from tests.serving import serving

MODEL = "identity_fp32"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def served(log: Path, *flags: str) -> AbstractContextManager[Pyserver]:
    only = ("--model-control-mode=explicit", f"--load-model={MODEL}")
    return serving(log, REPOSITORIES[1], *only, *flags)


@pytest.fixture(scope="module")
def grpc_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    with served(tmp_path_factory.mktemp("grpc_only") / "log", "--allow-http=false") as running:
        yield running


@pytest.fixture(scope="module")
def http_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    with served(tmp_path_factory.mktemp("http_only") / "log", "--allow-grpc=false") as running:
        yield running


def _infer(module: object, address: str) -> None:
    data = np.array([[1, 2, 3]], np.float32)
    tensor = module.InferInput("INPUT0", [1, 3], "FP32")
    tensor.set_data_from_numpy(data)
    with module.InferenceServerClient(address) as client:
        assert client.is_server_ready()
        result = client.infer(MODEL, [tensor])
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), data)
        assert client.get_model_metadata(MODEL)


def _libraries_of_core(server: Pyserver) -> str:
    (core,) = processes_by_role(server.pid)["core"]
    return Path(f"/proc/{core}/maps").read_text()


def _refused(port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_grpc_alone_serves(grpc_only: Pyserver) -> None:
    assert grpc_only.ports is not None
    _infer(grpc_client, f"127.0.0.1:{grpc_only.ports.grpc}")
    _refused(grpc_only.ports.http)
    assert "HTTPService" not in grpc_only.log_tail(1000)
    assert "aiohttp" not in _libraries_of_core(grpc_only)


def test_grpc_alone_answers_no_request_of_http(grpc_only: Pyserver) -> None:
    assert grpc_only.ports is not None
    for method, path in (("GET", "/v2/health/live"), ("POST", f"/v2/models/{MODEL}/infer")):
        connection = http.client.HTTPConnection("127.0.0.1", grpc_only.ports.grpc, timeout=10)
        connection.request(method, path)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (
            400,
            b'{"error":"HTTP is not served here, only gRPC"}',
        )
        assert answer.getheader("connection") == "close"
        connection.close()


def test_http_alone_serves(http_only: Pyserver) -> None:
    assert http_only.ports is not None
    _infer(http_client, f"127.0.0.1:{http_only.ports.http}")
    _refused(http_only.ports.grpc)
    assert "GRPCInferenceService" not in http_only.log_tail(1000)
    assert "cygrpc" not in _libraries_of_core(http_only)


def test_http_alone_does_not_speak_http2(http_only: Pyserver) -> None:
    assert http_only.ports is not None
    with socket.create_connection(("127.0.0.1", http_only.ports.http), timeout=10) as client:
        client.sendall(PREFACE)
        assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
    with grpc.insecure_channel(f"127.0.0.1:{http_only.ports.http}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", timeout=5)
        assert raised.value.code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )


@pytest.mark.parametrize(("off", "agreed"), [("http", "h2"), ("grpc", "http/1.1")])
def test_tls_offers_only_what_is_served(tmp_path: Path, off: str, agreed: str) -> None:
    certificates = make_certificates(tmp_path)
    on = "grpc" if off == "http" else "http"
    flags = (
        f"--allow-{off}=false",
        f"--{on}-use-ssl=true",
        f"--{on}-server-cert={certificates.server.certificate}",
        f"--{on}-server-key={certificates.server.key}",
    )
    with served(tmp_path / "log", *flags) as running:
        assert running.ports is not None
        context = ssl.create_default_context(cafile=str(certificates.root))
        context.set_alpn_protocols(["h2", "http/1.1"] if off == "grpc" else ["http/1.1", "h2"])
        with (
            socket.create_connection(
                ("127.0.0.1", getattr(running.ports, on)), timeout=10
            ) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            assert client.selected_alpn_protocol() == agreed
