"""All calls against one server, from its start to its end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tritonclient import grpc as triton

from bench.targets.process import ServerProcess
from tests.python_models.drive import MODELS, load_all, run
from tests.python_models.table import CALLS, Call


def answers_of(server: ServerProcess, folder: Path) -> dict[str, Any]:
    """{"errors": of the loads, "answers": by call}. The server serves a copy of the models.

    The real one at hand dies of some calls, or soon after them: it is started again, and asked once
    more what it did not answer.
    """
    models = folder / "models"
    shutil.copytree(MODELS, models, ignore=shutil.ignore_patterns("__pycache__"))
    errors: dict[str, str] = {}
    answers: dict[str, Any] = {}
    left = list(CALLS)
    lost: set[str] = set()
    while left:
        server.start(models, extra=("--model-control-mode=explicit",))
        try:
            server.wait_ready(60)
            assert server.ports is not None
            with triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
                told = load_all(client)
                errors = errors or told
                left = _ask_on(server, client, left, answers, lost)
        finally:
            server.stop()
    return {"errors": errors, "answers": {call.name: answers[call.name] for call in CALLS}}


def _ask_on(
    server: ServerProcess, client: Any, calls: list[Call], answers: dict[str, Any], lost: set[str]
) -> list[Call]:
    """The calls that are left when the server is gone. `lost` are those that it died of before."""
    for number, call in enumerate(calls):
        answers[call.name] = run(client, call)
        if server.running():
            continue
        if call.name in lost:
            answers[call.name] = "the server died"
            return calls[number + 1 :]
        lost.add(call.name)
        return calls[number:]
    return []
