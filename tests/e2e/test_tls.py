"""TLS on both ports, mutual on gRPC's, with stock clients and with clients that misbehave."""

from __future__ import annotations

import http.client
import json
import queue
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as client
import tritonclient.http as http_client
from tritonclient.utils import InferenceServerException

from bench.targets.process import Ports, free_ports
from bench.targets.pyserver import command_path
from tests.e2e.certificates import Certificates, make_certificates
from tests.serving import serving

MODELS = Path(__file__).parents[1] / "oracle" / "models"
HEADER_TIMEOUT_S = 2


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def ports(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """A server with TLS on HTTP's port and mutual TLS on gRPC's."""
    with serving(
        tmp_path_factory.mktemp("tls") / "server.log",
        MODELS,
        "--model-control-mode=explicit",
        "--load-model=identity_fp32",
        "--load-model=decoupled",
        "--http-use-ssl=true",
        f"--http-server-cert={certificates.server.certificate}",
        f"--http-server-key={certificates.server.key}",
        "--grpc-use-ssl-mutual=true",
        f"--grpc-server-cert={certificates.server.certificate}",
        f"--grpc-server-key={certificates.server.key}",
        f"--grpc-root-cert={certificates.root}",
        f"--http-header-timeout-secs={HEADER_TIMEOUT_S}",
    ) as running:
        assert running.ports is not None
        yield running.ports


def _context(certificates: Certificates, *protocols: str, known: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.root))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if known:
        context.load_cert_chain(certificates.client.certificate, certificates.client.key)
    return context


def _get(
    port: int, certificates: Certificates, path: str, *, known: bool = False
) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection(
        "localhost", port, timeout=10, context=_context(certificates, known=known)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _stock(port: int, certificates: Certificates, *, known: bool) -> client.InferenceServerClient:
    return client.InferenceServerClient(
        f"localhost:{port}",
        ssl=True,
        root_certificates=str(certificates.root),
        private_key=str(certificates.client.key) if known else None,
        certificate_chain=str(certificates.client.certificate) if known else None,
    )


def _identity(count: int) -> tuple[np.ndarray, list[client.InferInput]]:
    data = np.arange(count, dtype=np.float32).reshape(1, -1)
    given = client.InferInput("INPUT0", list(data.shape), "FP32")
    given.set_data_from_numpy(data)
    return data, [given]


@pytest.mark.parametrize("count", [16, 2_000_000])
def test_grpc_with_certificates_on_both_sides(
    ports: Ports, certificates: Certificates, count: int
) -> None:
    data, inputs = _identity(count)
    with _stock(ports.grpc, certificates, known=True) as stock:
        assert stock.is_server_ready()
        result = stock.infer("identity_fp32", inputs)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), data)


def test_a_stream_over_tls(ports: Ports, certificates: Certificates) -> None:
    answers: queue.Queue[tuple[client.InferResult | None, Exception | None]] = queue.Queue()
    data, inputs = _identity(1000)
    with _stock(ports.grpc, certificates, known=True) as stock:
        stock.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(20):
            stock.async_stream_infer("identity_fp32", inputs, request_id=str(number))
        for number in range(20):
            result, error = answers.get(timeout=20)
            assert error is None and result is not None
            assert result.get_response().id == str(number)
            np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), data)
        stock.stop_stream()


def test_a_client_without_a_certificate_is_refused(
    ports: Ports, certificates: Certificates
) -> None:
    with _stock(ports.grpc, certificates, known=False) as stock:
        with pytest.raises(InferenceServerException) as refused:
            stock.infer("identity_fp32", _identity(16)[1], client_timeout=5)
    assert refused.value.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")


def test_a_strangers_certificate_is_refused(ports: Ports, certificates: Certificates) -> None:
    credentials = grpc.ssl_channel_credentials(
        certificates.root.read_bytes(),
        certificates.stranger.key.read_bytes(),
        certificates.stranger.certificate.read_bytes(),
    )
    with grpc.secure_channel(f"localhost:{ports.grpc}", credentials) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", timeout=5)
    assert refused.value.code() in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    )


@pytest.mark.parametrize("count", [16, 2_000_000])
def test_the_stock_http_client_over_tls(
    ports: Ports, certificates: Certificates, count: int
) -> None:
    data = np.arange(count, dtype=np.float32).reshape(1, -1)
    given = http_client.InferInput("INPUT0", list(data.shape), "FP32")
    given.set_data_from_numpy(data)
    with http_client.InferenceServerClient(
        f"localhost:{ports.http}",
        ssl=True,
        ssl_context_factory=lambda: _context(certificates),
    ) as stock:
        assert stock.is_server_ready()
        assert stock.get_server_metadata()["name"] == "triton"
        for _ in range(3):
            result = stock.infer("identity_fp32", [given])
            np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), data)


def test_one_port_serves_both_protocols(ports: Ports, certificates: Certificates) -> None:
    """HTTP at gRPC's port, which wants a certificate there too."""
    status, body = _get(ports.grpc, certificates, "/v2", known=True)
    assert status == 200 and json.loads(body)["name"] == "triton"
    with pytest.raises(OSError):
        _get(ports.grpc, certificates, "/v2", known=False)


@pytest.mark.parametrize("offered", [(), ("h2",)])
def test_who_has_no_certificate_for_grpc_does_not_get_it_at_the_other_port(
    ports: Ports, certificates: Certificates, offered: tuple[str, ...]
) -> None:
    """By ALPN it is not to be had; and without ALPN its preface is no request of HTTP's."""
    context = _context(certificates, *offered)
    with socket.create_connection(("localhost", ports.http), timeout=10) as plain:
        if offered:
            with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
                context.wrap_socket(plain, server_hostname="localhost")
            return
        with context.wrap_socket(plain, server_hostname="localhost") as encrypted:
            encrypted.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert encrypted.recv(100).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((), None),
        (("http/1.1",), "http/1.1"),
        (("h2", "http/1.1"), "http/1.1"),  # gRPC wants a certificate, at its own port
        (("spdy/1", "http/1.1"), "http/1.1"),
    ],
)
def test_the_protocol_is_agreed_on(
    ports: Ports, certificates: Certificates, offered: tuple[str, ...], chosen: str | None
) -> None:
    with socket.create_connection(("localhost", ports.http), timeout=10) as plain:
        with _context(certificates, *offered).wrap_socket(
            plain, server_hostname="localhost"
        ) as encrypted:
            assert encrypted.selected_alpn_protocol() == chosen
            assert encrypted.version() == "TLSv1.3"


def test_both_protocols_are_offered_where_neither_asks_for_more(
    ports: Ports, certificates: Certificates
) -> None:
    for offered in (("h2", "http/1.1"), ("http/1.1", "h2"), ("http/1.1",)):
        context = _context(certificates, *offered, known=True)
        with socket.create_connection(("localhost", ports.grpc), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as encrypted:
                assert encrypted.selected_alpn_protocol() == (
                    "h2" if "h2" in offered else "http/1.1"
                )


def test_a_protocol_that_nobody_speaks_is_refused(ports: Ports, certificates: Certificates) -> None:
    with socket.create_connection(("localhost", ports.http), timeout=10) as plain:
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            _context(certificates, "spdy/1").wrap_socket(plain, server_hostname="localhost")


def test_old_versions_are_refused_and_1_2_is_not(ports: Ports, certificates: Certificates) -> None:
    context = _context(certificates)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("localhost", ports.http), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as encrypted:
            assert encrypted.version() == "TLSv1.2"
            cipher = encrypted.cipher()
            assert cipher is not None and "GCM" in cipher[0]
    answer = subprocess.run(
        ["openssl", "s_client", "-connect", f"localhost:{ports.http}", "-tls1_1"],
        input=b"",
        capture_output=True,
        timeout=10,
        check=False,
    )
    assert answer.returncode != 0


@pytest.mark.parametrize("first", [b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01", b""])
def test_who_does_not_speak_tls_is_sent_away(ports: Ports, first: bytes) -> None:
    with socket.create_connection(("localhost", ports.http), timeout=HEADER_TIMEOUT_S + 5) as plain:
        plain.sendall(first)
        try:
            left = plain.recv(100)
        except ConnectionResetError:  # some of what it sent was not read
            left = b""
        assert left == b"" or left[:1] == b"\x15"  # closed, or an alert first


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("missing.pem", None, "missing.pem"),
        (None, "missing.key", "missing.key"),
        (None, "stranger", "mismatch"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    certificates: Certificates, certificate: str | None, key: str | None, words: str
) -> None:
    ports = free_ports()
    key_path = certificates.stranger.key if key == "stranger" else key or certificates.server.key
    ended = subprocess.run(
        [
            str(command_path()),
            f"--model-repository={MODELS}",
            f"--http-port={ports.http}",
            f"--grpc-port={ports.grpc}",
            f"--metrics-port={ports.metrics}",
            "--grpc-use-ssl=true",
            f"--grpc-server-cert={certificate or certificates.server.certificate}",
            f"--grpc-server-key={key_path}",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    assert words in ended.stderr + ended.stdout
