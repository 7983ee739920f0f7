"""MLServer as a server under measurement: KServe's protocol in Python, JSON over HTTP and gRPC.

`python -m bench.targets.mlserver install` makes its home (PYSERVER_MLSERVER_HOME, default
/tmp/bench-mlserver). Its models are mlserver_models/. Only minilm is batched, and only for it, or
for several instances, are there worker processes: MLServer waits for a batch to fill, and sends
requests to its workers pickled, and either costs the cheap models more than it saves.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import kserve
from bench.deployment import Deployment, weights
from bench.targets.environment import HomedServer, installer
from bench.targets.process import Ports
from bench.workload import Request, Wire, Workload

_SOURCES = Path(__file__).with_name("mlserver_models")
_IMPLEMENTATIONS = {
    "identity": "echo.Echo",
    "identity_any": "echo.Echo",
    "identity_bytes": "echo.Echo",
    "python_identity": "echo.Echo",
    "python_add": "add.Add",
    "minilm": "minilm.MiniLM",
}
_BATCHING = {"max_batch_size": 16, "max_batch_time": 0.001}  # seconds; 0 would be no batching


class MLServer(HomedServer):
    name = "mlserver"
    install = "python -m bench.targets.mlserver install"

    def lay_out(self, deployment: Deployment, folder: Path) -> tuple[Path, Sequence[str]]:
        served = deployment.served(_IMPLEMENTATIONS)
        apart = "minilm" in served.values() or deployment.instances > 1
        settings = {
            "debug": False,
            "host": "127.0.0.1",
            "parallel_workers": deployment.instances if apart else 0,
            "metrics_dir": str(folder / ".metrics"),
            "environments_dir": str(folder / ".envs"),
        }
        (folder / "settings.json").write_text(json.dumps(settings, indent=1))
        for name, model in served.items():
            (folder / name).mkdir()
            self._lay_out_model(folder / name, model)
        return folder, ()

    def _lay_out_model(self, folder: Path, model: str) -> None:
        implementation = _IMPLEMENTATIONS[model]
        shutil.copy(_SOURCES / f"{implementation.partition('.')[0]}.py", folder)
        settings: dict[str, object] = {"name": folder.name, "implementation": implementation}
        if model == "minilm":
            settings |= {**_BATCHING, "parameters": {"uri": str(weights())}}
        (folder / "model-settings.json").write_text(json.dumps(settings, indent=1))

    def request(self, workload: Workload) -> Request | None:
        if workload.model not in _IMPLEMENTATIONS or workload.wire not in (Wire.JSON, Wire.GRPC):
            return None
        return kserve.request(workload)

    def command(self, model_repository: Path, ports: Ports, extra: Sequence[str]) -> list[str]:
        if not self.installed():
            raise FileNotFoundError(f"no MLServer in {self.packages().home}: run `{self.install}`")
        return [str(self.packages().python.with_name("mlserver")), "start", str(model_repository)]

    def environment(self) -> Mapping[str, str]:
        """MLServer has no flags; what settings.json does not say, it takes from here."""
        if self.ports is None:
            return os.environ
        return {
            **os.environ,
            "MLSERVER_HTTP_PORT": str(self.ports.http),
            "MLSERVER_GRPC_PORT": str(self.ports.grpc),
            "MLSERVER_METRICS_PORT": str(self.ports.metrics),
        }


if __name__ == "__main__":
    installer("MLServer", MLServer.packages().install, MLServer.packages().home)
