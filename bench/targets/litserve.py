"""LitServe as a server under measurement: FastAPI before Python processes, JSON over HTTP.

`python -m bench.targets.litserve install` makes its home (PYSERVER_LITSERVE_HOME, default
/tmp/bench-litserve), without torch, which it only needs for models of torch. Its models are
litserve_models/, of which only minilm gains by batches. One server is for one model: of a
deployment's, it serves the first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.deployment import Deployment
from bench.targets import plain
from bench.targets.environment import HomedServer, installer
from bench.targets.process import Ports
from bench.workload import Request, Wire, Workload

_APP = Path(__file__).with_name("litserve_models") / "app.py"


class LitServe(HomedServer):
    name = "litserve"
    install = "python -m bench.targets.litserve install"
    ready_path = "/health"

    def lay_out(self, deployment: Deployment, folder: Path) -> tuple[Path, Sequence[str]]:
        return deployment.describe(folder, plain.MODELS), ()

    def request(self, workload: Workload) -> Request | None:
        if workload.model not in plain.MODELS or workload.wire is not Wire.JSON:
            return None
        return plain.json_request(workload, f"/{workload.model}")

    def command(self, model_repository: Path, ports: Ports, extra: Sequence[str]) -> list[str]:
        if not self.installed():
            raise FileNotFoundError(f"no LitServe in {self.packages().home}: run `{self.install}`")
        return [
            str(self.packages().python),
            str(_APP),
            str(model_repository),
            str(ports.http),
            *extra,
        ]

    def environment(self) -> Mapping[str, str]:
        return os.environ


if __name__ == "__main__":
    installer("LitServe", LitServe.packages().install, LitServe.packages().home)
