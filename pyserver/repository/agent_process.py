"""The process in which one hook of somebody's repository agent runs: see agent_runner.

Its file has a class `RepositoryAgent` with any of the methods `load`, `loaded` and `unload`; each
is given a `Model`. What `load` returns is the folder that the model is to be loaded from, or None.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_CLASS: Final = "RepositoryAgent"
_MOST_TEXT: Final = 4000


@dataclass(frozen=True)
class Model:
    """`folder` is the model's, not to be written to where it is the owner's own. `scratch` is
    empty, for this agent and this load alone, the same in all hooks, and removed after `unload`.
    """

    name: str
    folder: Path
    scratch: Path
    parameters: Mapping[str, str]
    config: Mapping[str, Any]


def main() -> None:
    answer_fd = int(sys.argv[1])
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_core, daemon=True).start()
    folder: str | None = None
    error: str | None = None
    try:
        folder = _run(request)
    except Exception as raised:  # whatever the agent's code raises
        error = f"{type(raised).__name__}: {raised}"[:_MOST_TEXT]
    os.write(answer_fd, json.dumps({"folder": folder, "error": error}).encode())


def _end_with_core() -> None:
    os.read(0, 1)  # not by sys.stdin, which a thread must not hold when the interpreter ends
    os.killpg(0, signal.SIGKILL)


def _run(request: Mapping[str, Any]) -> str | None:
    program = Path(request["program"])
    sys.path.insert(0, str(program.parent))
    spec = importlib.util.spec_from_file_location("agent", program)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["agent"] = module
    spec.loader.exec_module(module)
    agent_class = getattr(module, _CLASS, None)
    if agent_class is None:
        raise AttributeError(f"'{program}' has no class '{_CLASS}'")
    hook = getattr(agent_class(), request["hook"], None)
    if hook is None:
        return None
    given = request["model"]
    model = Model(
        name=given["name"],
        folder=Path(given["folder"]),
        scratch=Path(given["scratch"]),
        parameters=given["parameters"],
        config=given["config"],
    )
    result = hook(model)
    return None if result is None or request["hook"] != "load" else os.fspath(result)


if __name__ == "__main__":
    main()
