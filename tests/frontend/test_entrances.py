"""Which protocols a listener speaks, by what the settings ask of clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserver.frontend.entrances import entrance
from pyserver.settings import Settings
from tests.e2e.certificates import Certificates, make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def _settings(certificates: Certificates, **levels: str) -> Settings:
    """`http` and `grpc` are "off", "plain", "tls" or "mutual"."""
    given: dict[str, object] = {}
    for protocol, level in levels.items():
        given |= {
            f"allow_{protocol}": level != "off",
            f"{protocol}_use_ssl": level in ("tls", "mutual"),
            f"{protocol}_use_ssl_mutual": level == "mutual",
            f"{protocol}_server_cert": str(certificates.server.certificate),
            f"{protocol}_server_key": str(certificates.server.key),
            f"{protocol}_root_cert": str(certificates.root),
        }
    return Settings(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("http", "grpc", "at_http", "at_grpc"),
    [
        ("plain", "plain", "12", "12"),
        ("tls", "tls", "12", "12"),
        ("mutual", "mutual", "12", "12"),
        ("plain", "tls", "1", "12"),
        ("plain", "mutual", "1", "12"),
        ("tls", "mutual", "1", "12"),
        ("tls", "plain", "12", "2"),
        ("mutual", "tls", "12", "2"),
        ("off", "tls", "", "2"),
        ("plain", "off", "1", ""),
    ],
)
def test_no_protocol_is_to_be_had_for_less(
    certificates: Certificates, http: str, grpc: str, at_http: str, at_grpc: str
) -> None:
    settings = _settings(certificates, http=http, grpc=grpc)
    for protocol, level, spoken in (("http", http, at_http), ("grpc", grpc, at_grpc)):
        if level == "off":
            continue
        found = entrance(settings, protocol)
        assert ("1" if found["http1"] else "") + ("2" if found["http2"] else "") == spoken
        assert (found["tls"] is None) == (level == "plain")
        assert (found["http_rules"], found["grpc_rules"]) == (
            protocol == "http",
            protocol == "grpc",
        )


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    settings = Settings(grpc_use_ssl=True, grpc_server_cert=str(tmp_path / "no.pem"))
    with pytest.raises(Exception, match=r"no\.pem"):
        entrance(settings, "grpc")
