"""Backend, platform and file name follow from the configuration or the version directory."""

from __future__ import annotations

import pytest

from pyserver.config.autofill import autofill
from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.config.validate import check, platform_fits_backend
from pyserver.errors import InvalidArgumentError

SAVED, GRAPH = "tensorflow_savedmodel", "tensorflow_graphdef"
ONNX, PLAN, TORCH, AOTI = "onnxruntime_onnx", "tensorrt_plan", "pytorch_libtorch", "torch_aoti"

# (what the configuration says, what lies in the version directory: a slash marks a directory,
#  backend, platform and file name found)
TABLE = [
    # From files alone.
    ({}, "model.savedmodel/", ("tensorflow", SAVED, "model.savedmodel")),
    ({}, "model.graphdef", ("tensorflow", GRAPH, "model.graphdef")),
    ({}, "model.plan", ("tensorrt", PLAN, "model.plan")),
    ({}, "model.onnx", ("onnxruntime", ONNX, "model.onnx")),
    ({}, "model.onnx/", ("onnxruntime", ONNX, "model.onnx")),
    ({}, "model.xml model.bin", ("openvino", "", "model.xml")),
    ({}, "model.pt", ("pytorch", TORCH, "model.pt")),
    ({}, "model.pt2", ("pytorch", AOTI, "model.pt2")),
    ({}, "model.py", ("python", "", "model.py")),
    # The order of the table counts, not that of the names.
    ({}, "model.py model.onnx", ("onnxruntime", ONNX, "model.onnx")),
    ({}, "model.pt model.pt2 model.py", ("pytorch", TORCH, "model.pt")),
    # A file where a directory is wanted, and the other way round, tells nothing.
    ({}, "model.savedmodel model.py", ("python", "", "model.py")),
    ({}, "model.graphdef/ model.py", ("python", "", "model.py")),
    ({}, "model.plan/ model.py", ("python", "", "model.py")),
    # The platform tells.
    ({"platform": ONNX}, "", ("onnxruntime", ONNX, "model.onnx")),
    ({"platform": ONNX}, "model.py", ("onnxruntime", ONNX, "model.onnx")),
    ({"platform": PLAN}, "", ("tensorrt", PLAN, "model.plan")),
    ({"platform": SAVED}, "", ("tensorflow", SAVED, "model.savedmodel")),
    ({"platform": GRAPH}, "", ("tensorflow", GRAPH, "model.graphdef")),
    ({"platform": TORCH}, "", ("pytorch", TORCH, "model.pt")),
    ({"platform": "libtorch"}, "", ("pytorch", TORCH, "model.pt")),
    ({"platform": AOTI}, "", ("pytorch", AOTI, "model.pt2")),
    ({"platform": "ensemble"}, "model.py", ("", "ensemble", "")),
    # The file name tells.
    ({"default_model_filename": "model.py"}, "model.onnx", ("python", "", "model.py")),
    ({"default_model_filename": "model.onnx"}, "", ("onnxruntime", ONNX, "model.onnx")),
    ({"default_model_filename": "model.pt2"}, "", ("pytorch", AOTI, "model.pt2")),
    # The backend tells.
    ({"backend": "python"}, "", ("python", "", "model.py")),
    ({"backend": "python"}, "model.onnx", ("python", "", "model.py")),
    ({"backend": "python", "platform": "mine"}, "", ("python", "mine", "model.py")),
    ({"backend": "onnxruntime"}, "", ("onnxruntime", ONNX, "model.onnx")),
    ({"backend": "tensorrt"}, "", ("tensorrt", PLAN, "model.plan")),
    ({"backend": "openvino"}, "", ("openvino", "", "model.xml")),
    ({"backend": "pytorch"}, "", ("pytorch", TORCH, "model.pt")),
    ({"backend": "pytorch"}, "model.pt2", ("pytorch", AOTI, "model.pt2")),
    ({"backend": "tensorflow"}, "model.graphdef", ("tensorflow", GRAPH, "model.graphdef")),
    ({"backend": "identity"}, "model.onnx", ("identity", "", "")),
    ({"backend": "custom", "platform": ONNX}, "", ("custom", ONNX, "")),
    (
        {"backend": "onnxruntime", "default_model_filename": "net.onnx"},
        "net.onnx",
        ("onnxruntime", ONNX, "net.onnx"),
    ),
    (
        {"backend": "python", "default_model_filename": "main.py"},
        "main.py",
        ("python", "", "main.py"),
    ),
    (
        {"platform": ONNX, "default_model_filename": "net.onnx"},
        "net.onnx",
        ("onnxruntime", ONNX, "net.onnx"),
    ),
]


def _listing(names: str) -> dict[str, bool]:
    return {name.rstrip("/"): name.endswith("/") for name in names.split()}


@pytest.mark.parametrize(("said", "files", "found"), TABLE)
def test_the_first_row_that_fits_wins(
    said: dict[str, str], files: str, found: tuple[str, str, str]
) -> None:
    config = ModelConfig(**said)
    autofill(config, "m", _listing(files))
    assert config.name == "m"
    assert (config.backend, config.platform, config.default_model_filename) == found
    check(config, (platform_fits_backend,))


PAIRS = [
    {"backend": "tensorflow"},
    {"backend": "tensorrt", "platform": ONNX},
    {"backend": "onnxruntime", "platform": PLAN},
    {"backend": "pytorch", "platform": ONNX},
    {"platform": TORCH, "default_model_filename": "model.onnx"},
]


@pytest.mark.parametrize("said", PAIRS)
def test_a_backend_and_the_platform_of_another_are_refused(said: dict[str, str]) -> None:
    config = ModelConfig(**said)
    autofill(config, "m", {})
    with pytest.raises(
        InvalidArgumentError, match="unexpected 'platform' and 'backend' pair, got:"
    ):
        check(config, (platform_fits_backend,))


def test_a_name_with_a_dot_tells_the_backend() -> None:
    config = ModelConfig()
    autofill(config, "a.b.c", {})
    assert (config.backend, config.default_model_filename) == ("b.c", "model.b.c")


def test_nothing_known_is_an_error() -> None:
    with pytest.raises(InvalidArgumentError, match="Could not determine backend for model 'm'"):
        autofill(ModelConfig(), "m", {"weights": False})
