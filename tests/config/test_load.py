"""load_config on real directories: which file is read, which versions are served, what not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyserver.config.labels import read_labels
from pyserver.config.load import finish, load_config
from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.config.versions import select_versions, version_of
from pyserver.errors import InternalError, InvalidArgumentError, NotFoundError, ServerError

IO = (
    'input { name: "I" data_type: TYPE_FP32 dims: 1 }'
    ' output { name: "O" data_type: TYPE_FP32 dims: 1 }'
)


def _model(tmp_path: Path, files: dict[str, str]) -> Path:
    folder = tmp_path / "m"
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_a_model_without_a_file_is_detected(tmp_path: Path) -> None:
    folder = _model(tmp_path, {"1/model.onnx": "", "10/model.onnx": "", "9/extra": ""})
    loaded = load_config("m", folder, config_name=None, gpu_count=0)
    assert (loaded.from_file, loaded.versions) == (False, (10,))
    assert loaded.first_version_files == ("model.onnx",)
    assert (loaded.message.name, loaded.message.backend) == ("m", "onnxruntime")


def test_the_first_version_is_first_as_text(tmp_path: Path) -> None:
    folder = _model(tmp_path, {"9/model.onnx": "", "10/model.py": ""})
    assert load_config("m", folder, config_name=None, gpu_count=0).message.backend == "python"


def test_without_auto_complete_a_file_is_needed(tmp_path: Path) -> None:
    folder = _model(tmp_path, {"1/model.py": ""})
    with pytest.raises(
        InternalError, match=r"failed to open text file for read .*config.pbtxt: No"
    ):
        load_config("m", folder, config_name=None, gpu_count=0, auto_complete=False)


@pytest.mark.parametrize(
    ("config_name", "size"), [(None, 1), ("", 1), ("big", 9), ("nothing", 1), ("other", 1)]
)
def test_a_custom_config_is_taken_where_it_exists(
    tmp_path: Path, config_name: str | None, size: int
) -> None:
    files = {"config.pbtxt": "max_batch_size: 1", "configs/big.pbtxt": "max_batch_size: 9"}
    folder = _model(tmp_path, files | {"1/model.py": "", "configs/other.txt": "x"})
    loaded = load_config("m", folder, config_name=config_name, gpu_count=0)
    assert (loaded.message.max_batch_size, loaded.from_file) == (size, True)


def test_an_override_replaces_the_file(tmp_path: Path) -> None:
    folder = _model(tmp_path, {"config.pbtxt": "not a config", "1/model.py": "", "2/model.py": ""})
    override = json.dumps({"maxBatchSize": 5, "versionPolicy": {"all": {}}})
    loaded = load_config("m", folder, config_name=None, gpu_count=0, override=override)
    assert (loaded.message.max_batch_size, loaded.versions) == (5, (1, 2))


def test_no_directory_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="model 'm' has no directory"):
        load_config("m", tmp_path / "m", config_name=None, gpu_count=0)


def test_a_directory_in_the_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    folder = _model(tmp_path, {"config.pbtxt/x": "", "1/model.py": ""})
    with pytest.raises(InternalError, match="failed to open text file for read"):
        load_config("m", folder, config_name=None, gpu_count=0)


def test_finish_leaves_what_it_is_given_as_it_is() -> None:
    config = ModelConfig(name="m", backend="python")
    made = finish(config, gpu_count=0)
    assert made.instance_group and not config.instance_group
    assert finish(made, gpu_count=0) == made


VERSION_NAMES = [
    ("0", 0), ("1", 1), ("10", 10), ("9223372036854775807", 2**63 - 1), ("01", None), ("00", None),
    ("", None), ("-1", None), ("+1", None), ("1.0", None), ("1a", None), ("x", None), (" 1", None),
    ("9223372036854775808", None), ("1" * 5000, None), ("²", None), ("١", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "version"), VERSION_NAMES)
def test_only_decimal_numbers_are_versions(name: str, version: int | None) -> None:
    assert version_of(name) == version


POLICIES = [
    ({}, [1, 3, 10]),
    ({"all": {}}, [1, 3, 10]),
    ({"latest": {"num_versions": 1}}, [10]),
    ({"latest": {"num_versions": 2}}, [3, 10]),
    ({"latest": {"num_versions": 9}}, [1, 3, 10]),
    ({"latest": {}}, []),
    ({"specific": {"versions": [3]}}, [3]),
    ({"specific": {"versions": [10, 1, 1]}}, [1, 10]),
    ({"specific": {"versions": [2, 3]}}, [3]),
    ({"specific": {"versions": [2]}}, []),
    ({"specific": {}}, []),
]


@pytest.mark.parametrize(("policy", "versions"), POLICIES)
def test_a_policy_selects_versions(policy: dict[str, object], versions: list[int]) -> None:
    message = ModelConfig(version_policy=policy).version_policy
    assert select_versions(message, [10, 1, 3], model_name="m") == versions


def test_labels_are_lines(tmp_path: Path) -> None:
    folder = _model(tmp_path, {"labels.txt": "cat\ndog, wild\n\nübel", "1/model.py": ""})
    config = ModelConfig(name="m", output=[{"name": "O", "label_filename": "labels.txt"}])
    assert read_labels(config, config.output[0], folder) == ("cat", "dog, wild", "", "übel")


@pytest.mark.parametrize(
    ("filename", "kind", "text"),
    [
        (
            "../x",
            InvalidArgumentError,
            "label file '../x' of output 'O' for model 'm' must be inside",
        ),
        ("/etc/hostname", InvalidArgumentError, "must be inside the model directory"),
        ("link", InvalidArgumentError, "must be inside the model directory"),
        ("nothing", InternalError, "nothing: No such file or directory"),
        ("1", InternalError, "Is a directory"),
        ("binary", InternalError, "not UTF-8"),
    ],
)
def test_a_label_file_that_cannot_be_is_refused(
    tmp_path: Path, filename: str, kind: type[ServerError], text: str
) -> None:
    folder = _model(tmp_path, {"1/model.py": ""})
    (folder / "link").symlink_to("/etc/hostname")
    (folder / "binary").write_bytes(b"\xff\xfe")
    output = {"name": "O", "data_type": 11, "dims": [1], "label_filename": filename}
    config = ModelConfig(name="m", backend="python", output=[output])
    with pytest.raises(kind) as raised:
        finish(config, gpu_count=0, model_dir=folder)
    assert text in str(raised.value)
