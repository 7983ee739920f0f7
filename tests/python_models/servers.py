"""All calls against one server, from its start to its end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tritonclient import grpc as triton

from bench.targets.process import ServerProcess
from tests.python_models.drive import MODELS, load_all, run_all


def answers_of(server: ServerProcess, folder: Path) -> dict[str, Any]:
    """{"errors": of the loads, "answers": by call}. The server serves a copy of the models."""
    models = folder / "models"
    shutil.copytree(MODELS, models, ignore=shutil.ignore_patterns("__pycache__"))
    server.start(models, extra=("--model-control-mode=explicit",))
    try:
        server.wait_ready(60)
        assert server.ports is not None
        with triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
            errors = load_all(client)
            return {"errors": errors, "answers": run_all(client)}
    finally:
        server.stop()
