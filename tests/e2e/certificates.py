"""Certificates for tests of TLS, made by the `openssl` command: a root, what it signed, and a
stranger's.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, PEM files both."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """`server` is valid for localhost and 127.0.0.1; nobody trusts `stranger`."""

    root: Path
    server: Pair
    client: Pair
    stranger: Pair


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def _self_signed(folder: Path, name: str) -> Pair:
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-days", "2", "-subj", f"/CN=pyserver test {name}"),
        *("-keyout", pair.key, "-out", pair.certificate),
    )
    return pair


def _signed(folder: Path, name: str, root: Pair, extensions: str) -> Pair:
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    request, extra = folder / f"{name}.csr", folder / f"{name}.ext"
    extra.write_text(extensions)
    _openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", f"/CN=pyserver test {name}", "-keyout", pair.key, "-out", request),
    )
    _openssl(
        *("x509", "-req", "-days", "2", "-in", request, "-CA", root.certificate),
        *("-CAkey", root.key, "-CAcreateserial", "-extfile", extra, "-out", pair.certificate),
    )
    return pair


def make_certificates(folder: Path) -> Certificates:
    """All of them, in the folder."""
    root = _self_signed(folder, "root")
    return Certificates(
        root=root.certificate,
        server=_signed(folder, "server", root, "subjectAltName=DNS:localhost,IP:127.0.0.1\n"),
        client=_signed(folder, "client", root, "extendedKeyUsage=clientAuth\n"),
        stranger=_self_signed(folder, "stranger"),
    )
