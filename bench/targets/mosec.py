"""mosec as a server under measurement: a frontend in Rust, and models as Python processes behind
Unix sockets, over HTTP only.

`python -m bench.targets.mosec install` makes its home (PYSERVER_MOSEC_HOME, default
/tmp/bench-mosec). Its models are mosec_models/; each has one more process than it needs, for the
wire that is not asked, so mosec's memory is not to be compared. What it batches does twice as many
requests/s under load, but a lone request waits a millisecond for others.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.deployment import Deployment
from bench.targets import plain
from bench.targets.environment import HomedServer, installer
from bench.targets.process import Ports
from bench.workload import Request, Wire, Workload

_APP = Path(__file__).with_name("mosec_models") / "app.py"
_UNAVAILABLE = frozenset({408, 429, 503})  # what the frontend says for a worker that is not there


class Mosec(HomedServer):
    name = "mosec"
    install = "python -m bench.targets.mosec install"

    def __init__(self, log_path: Path) -> None:
        super().__init__(log_path)
        self._paths: list[str] = []

    def lay_out(self, deployment: Deployment, folder: Path) -> tuple[Path, Sequence[str]]:
        return deployment.describe(folder, plain.MODELS), ()

    def request(self, workload: Workload) -> Request | None:
        if workload.model not in plain.MODELS:
            return None
        if workload.wire is Wire.JSON:
            return plain.json_request(workload, f"/{workload.model}/json")
        if workload.wire is Wire.BINARY:
            return plain.binary_request(workload, f"/{workload.model}/binary")
        return None

    def command(self, model_repository: Path, ports: Ports, extra: Sequence[str]) -> list[str]:
        if not self.installed():
            raise FileNotFoundError(f"no mosec in {self.packages().home}: run `{self.install}`")
        names = json.loads(model_repository.read_text())["models"]
        self._paths = [f"/{name}/{wire}" for name in names for wire in ("json", "binary")]
        return [
            str(self.packages().python),
            str(_APP),
            str(model_repository),
            "--address=127.0.0.1",
            f"--port={ports.http}",
            "--timeout=5000",  # milliseconds; it also takes as long to stop after a load
            "--log-level=warning",
            *extra,
        ]

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def ready(self) -> bool:
        """The frontend answers before it has workers, so each is asked, for nothing: that it
        complains shows that it is there.
        """
        return all(self._complains(path) for path in self._paths)

    def _complains(self, path: str) -> bool:
        if self.ports is None:
            return False
        connection = http.client.HTTPConnection("127.0.0.1", self.ports.http, timeout=2)
        try:
            connection.request("POST", path, b"{}")
            return connection.getresponse().status not in _UNAVAILABLE
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


if __name__ == "__main__":
    installer("mosec", Mosec.packages().install, Mosec.packages().home)
