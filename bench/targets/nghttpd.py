"""nghttpd as the limit of what a gRPC frontend can do: it reads the call, and answers with a file
that holds the right answer to an inference, as a gRPC message, and gRPC's trailer.

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

# How many floats the answer has where a model is deployed; it is the same for all requests.
_ELEMENTS: Mapping[str, int] = {"identity": 16, "python_identity": 16, "identity_any": 150_000}


def answer(elements: int) -> bytes:
    """The message behind gRPC's prefix: not compressed, so many bytes."""
    message = pb.ModelInferResponse(model_name="identity", model_version="1")
    message.outputs.add(name="OUTPUT0", datatype="FP32", shape=[1, elements])
    message.raw_output_contents.append(kserve.floats(elements).tobytes())
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
        served = deployment.served(_ELEMENTS).values()
        file = folder / kserve.SERVICE.strip("/") / "ModelInfer"
        file.parent.mkdir()
        file.write_bytes(answer(max(_ELEMENTS[model] for model in served)))
        return folder, ()

    def request(self, workload: Workload) -> Request | None:
        if workload.elements != _ELEMENTS.get(workload.model):
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
