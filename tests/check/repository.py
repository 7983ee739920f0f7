"""The models of this folder as one repository, with the weights that `1/.onnx` names."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
MODELS = HERE.parents[1] / "model_repository"
WRONG = HERE / "wrong_models"
CORRECT = HERE / "correct_models"


@dataclass(frozen=True)
class Expected:
    """What expected.json of a wrong model says of one finding; `file` is below the model's folder,
    and `block` a part of the corrected block."""

    file: str
    line: int
    problem: str
    cure: str
    block: str = ""
    severity: str = "mistake"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())


def expected(name: str) -> list[Expected]:
    content = json.loads((WRONG / name / "expected.json").read_text())
    return [Expected(**one) for one in content["findings"]]


def lay_out(target: Path, *folders: Path) -> Path:
    """Copies them all into `target`."""
    for folder in folders:
        for name in names(folder):
            shutil.copytree(folder / name, target / name)
    for mark in target.glob("*/1/.onnx"):
        shutil.copy(MODELS / mark.read_text().strip() / "1" / "model.onnx", mark.parent)
        mark.unlink()
    return target
