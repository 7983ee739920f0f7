"""pyserver as a server under measurement: the console command of this checkout's virtual
environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyserver
from bench import kserve
from bench.deployment import Deployment
from bench.targets.process import Ports, ServerProcess
from bench.workload import Request, Workload


def command_path() -> Path:
    """The `pyserver` beside the running interpreter, or the one that PYSERVER_COMMAND names."""
    named = os.environ.get("PYSERVER_COMMAND")
    return Path(named) if named else Path(sys.executable).with_name("pyserver")


class Pyserver(ServerProcess):
    name = "pyserver"
    install = "make install"
    counts_requests = True

    @classmethod
    def installed(cls) -> bool:
        return command_path().exists()

    @classmethod
    def version(cls) -> str:
        return pyserver.__version__

    def folders(self) -> Sequence[Path]:
        return [Path(pyserver.__file__).parent]

    def lay_out(self, deployment: Deployment, folder: Path) -> tuple[Path, Sequence[str]]:
        frontends = deployment.frontends
        flags = [f"--frontend-workers={frontends}"] if frontends is not None else []
        return deployment.lay_out(folder, native_onnx=True), [*flags, *deployment.flags]

    def request(self, workload: Workload) -> Request | None:
        return kserve.request(workload)

    def command(self, model_repository: Path, ports: Ports, extra: Sequence[str]) -> list[str]:
        if not command_path().exists():
            raise FileNotFoundError(f"no {command_path()}: run `make install`")
        return [
            str(command_path()),
            f"--model-repository={model_repository}",
            "--http-address=127.0.0.1",
            f"--http-port={ports.http}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={ports.grpc}",
            f"--metrics-port={ports.metrics}",
            *extra,
        ]

    def environment(self) -> Mapping[str, str]:
        return os.environ
