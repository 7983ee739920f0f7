"""`python -m pyserver.check.describe`: the process that a model's own code is looked at in.

One JSON line comes in at stdin: {"model": as in core's "prepare", "bare_config": JSON text,
"parent": pid, "memory_byte_size": n}. One goes out where stdout was: what `describe` says to the
config, and to one without inputs, outputs and batch size, so that what the model wants is seen
apart from it: {"full", "full_error", "bare", "bare_error"}.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

from pyserver._core import end_with_parent
from pyserver.backends import backend_info
from pyserver.backends.interface import Backend, ModelInfo, make_backend
from pyserver.errors import ServerError


def main() -> int:
    answer_fd = os.dup(1)
    os.dup2(2, 1)  # what the model prints is not an answer
    asked = json.loads(sys.stdin.readline())
    if not end_with_parent("ps-describe", int(asked["parent"])):
        return 1
    _bound(resource.RLIMIT_DATA, int(asked["memory_byte_size"]))
    _bound(resource.RLIMIT_CORE, 0)
    answer = json.dumps(_describe(asked))
    with os.fdopen(answer_fd, "w") as out:
        out.write(answer)
    sys.stdout.flush()
    os._exit(0)  # threads of frameworks are nobody's concern


def _bound(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(what, (most, hard))


def _describe(asked: dict[str, Any]) -> dict[str, Any]:
    model = ModelInfo.from_message(asked["model"])
    info = backend_info(str(asked["model"]["backend"]))
    answer: dict[str, Any] = {"full": None, "full_error": "", "bare": None, "bare_error": ""}
    if info is None:
        return answer
    try:
        backend = make_backend(info)
        answer["full"], answer["full_error"] = _ask(backend, model)
        bare = model.with_config(asked["bare_config"])
        answer["bare"], answer["bare_error"] = _ask(backend, bare)
    except Exception as error:
        answer["full_error"] = f"{type(error).__name__}: {error}"
    return answer


def _ask(backend: Backend, model: ModelInfo) -> tuple[dict[str, Any] | None, str]:
    try:
        return backend.describe(model), ""
    except ServerError as error:
        return None, str(error)
    except Exception as error:  # a framework's own
        return None, f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
