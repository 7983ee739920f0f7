"""Carry out the calls of tests/python_models against the real Triton and write what it answered to
tests/python_models/recorded.json: `python -m tests.oracle.record_python_models`.

Set up the real Triton once with `python -m bench.targets.triton install`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from bench.targets.triton import Triton
from tests.python_models.servers import answers_of

RECORDED = Path(__file__).resolve().parent.parent / "python_models" / "recorded.json"

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="python-models-") as folder:
        seen = answers_of(Triton(Path(folder) / "server.log"), Path(folder))
    RECORDED.write_text(json.dumps(seen, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(seen['answers'])} answers in {RECORDED}")
