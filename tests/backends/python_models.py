"""Python models for these tests, written from the body of their class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.instance.serving import tensors, write_model

IMPORTS = """
import json, threading
import numpy as np
import triton_python_backend_utils as pb_utils

def get(request, name="IN"):
    return pb_utils.get_input_tensor_by_name(request, name)

def answer(array, name="OUT", **more):
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array)], **more)
"""


def model(folder: Path, execute: str, *, config: str = "", kind: str = "FP32") -> Path:
    """A model with input IN and output OUT; `execute` is the body of the class."""
    text = 'backend: "python"\n' + config
    text += tensors("input", [("IN", kind, [-1])]) + tensors("output", [("OUT", kind, [-1])])
    lines = "\n".join("    " + line for line in execute.strip().splitlines())
    return write_model(folder, text, f"{IMPORTS}\nclass TritonPythonModel:\n{lines}\n")


def floats(*values: float) -> dict[str, Any]:
    return {"IN": np.array(values, np.float32)}
