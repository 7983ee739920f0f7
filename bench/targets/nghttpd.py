"""nghttpd as the limit of what a gRPC frontend can do: it reads the call, and answers with a file
that holds the right answer to a small inference, as a gRPC message, and gRPC's trailer.

It comes from Debian and has one worker thread. Its answers have no content type, which h2load and
grpcio do not mind.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tritonclient.grpc import service_pb2 as pb

from bench import kserve
from bench.deployment import Deployment
from bench.targets.environment import debian_version
from bench.targets.process import Ports, ServerProcess
from bench.workload import Request, Wire, Workload

_MODELS = frozenset({"identity", "python_identity"})
_ELEMENTS = 16


def answer() -> bytes:
    """The message behind gRPC's prefix: not compressed, so many bytes."""
    message = pb.ModelInferResponse(model_name="identity", model_version="1")
    message.outputs.add(name="OUTPUT0", datatype="FP32", shape=[1, _ELEMENTS])
    message.raw_output_contents.append(kserve.floats(_ELEMENTS).tobytes())
    serialized: bytes = message.SerializeToString()
    return b"\0" + len(serialized).to_bytes(4, "big") + serialized


def binary() -> str | None:
    """Debian has it where only root's PATH looks."""
    return shutil.which("nghttpd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


class Nghttpd(ServerProcess):
    name = "nghttpd"
    install = "apt-get install nghttp2-server"

    @classmethod
    def installed(cls) -> bool:
        return binary() is not None

    @classmethod
    def version(cls) -> str:
        return debian_version("nghttp2-server")

    def lay_out(self, deployment: Deployment, folder: Path) -> tuple[Path, Sequence[str]]:
        deployment.served(_MODELS)
        file = folder / kserve.SERVICE.strip("/") / "ModelInfer"
        file.parent.mkdir()
        file.write_bytes(answer())
        return folder, ()

    def request(self, workload: Workload) -> Request | None:
        if workload.model not in _MODELS or workload.elements != _ELEMENTS:
            return None
        return kserve.request(workload) if workload.wire is Wire.GRPC else None

    def command(self, model_repository: Path, ports: Ports, extra: Sequence[str]) -> list[str]:
        found = binary()
        if found is None:
            raise FileNotFoundError(f"no nghttpd: run `{self.install}`")
        return [
            found,
            "--no-tls",
            "--address=127.0.0.1",
            "--workers=1",
            "--max-concurrent-streams=1000",
            "--no-content-length",
            "--trailer=grpc-status: 0",
            f"--htdocs={model_repository}",
            *extra,
            str(ports.grpc),
        ]

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def ready(self) -> bool:
        """It speaks no HTTP/1, so that somebody listens has to do."""
        if self.ports is None:
            return False
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.ports.grpc)) == 0
