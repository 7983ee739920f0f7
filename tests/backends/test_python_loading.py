"""The Python backend: how a model is imported, describes itself, starts and ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.backends.python_models import IMPORTS, floats, model
from tests.instance.serving import LoadFailed, served, tensors, write_model


def test_initialize_and_finalize(tmp_path: Path) -> None:
    execute = """
def initialize(self, args):
    self.args = args
    config = json.loads(args["model_config"])
    assert pb_utils.get_output_config_by_name(config, "OUT")["data_type"] == "TYPE_STRING"
    assert config["parameters"]["p"]["string_value"] == "v"
def execute(self, requests):
    self.args.pop("model_config")
    return [answer(np.array([json.dumps(self.args)], dtype=object))]
def finalize(self):
    open(self.args["model_repository"] + "/finalized", "w").close()
"""
    config = 'parameters { key: "p" value { string_value: "v" } }\n'
    path = model(tmp_path / "m", execute, kind="STRING", config=config)
    with served(path) as one:
        response = one.infer({"IN": np.array([b""], dtype=object)})
        assert json.loads(response.outputs["OUT"][0]) == {
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
            "model_instance_name": "m_0",
            "model_repository": str(path),
            "model_version": "1",
            "model_name": "m",
        }
    assert (path / "finalized").exists()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import nothing_like_it", "ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("def f(:", "SyntaxError"),
        ("x = 1", "has no attribute 'TritonPythonModel'"),
        ("class TritonPythonModel: pass", "'execute'"),
        (
            "class TritonPythonModel:\n"
            "  def initialize(self, args): raise RuntimeError('no device')\n"
            "  def execute(self, requests): pass",
            "RuntimeError: no device\n\nAt:\n",
        ),
    ],
)
def test_models_that_cannot_be_loaded(tmp_path: Path, code: str, text: str) -> None:
    config = 'backend: "python"\n' + tensors("input", [("IN", "FP32", [-1])])
    config += tensors("output", [("OUT", "FP32", [-1])])
    path = write_model(tmp_path / "m", config, code)
    with pytest.raises(LoadFailed) as failure, served(path):
        pass
    assert text in str(failure.value)


def test_a_model_without_a_config_describes_itself(tmp_path: Path) -> None:
    code = f"""{IMPORTS}
class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({{"name": "IN", "data_type": "TYPE_FP32", "dims": [2]}})
        config.add_output({{"name": "OUT", "data_type": "TYPE_FP32", "dims": [2]}})
        config.set_max_batch_size(4)
        config.set_dynamic_batching()
        return config
    def execute(self, requests):
        return [answer(get(request).as_numpy() + 1) for request in requests]
"""
    with served(write_model(tmp_path / "m", "", code)) as one:
        assert one.config.max_batch_size == 4
        assert one.config.HasField("dynamic_batching")
        response = one.infer({"IN": np.zeros((1, 2), np.float32)})
        assert response.outputs["OUT"].tolist() == [[1, 1]]


def test_auto_complete_config_must_return_its_config(tmp_path: Path) -> None:
    code = """
class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        pass
    def execute(self, requests):
        pass
"""
    with (
        pytest.raises(LoadFailed, match="must return a valid pb"),
        served(write_model(tmp_path / "m", "", code)),
    ):
        pass


def test_files_beside_the_model_can_be_imported(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    import beside
    from . import beside as relative
    return [answer(np.array([beside.VALUE + relative.VALUE], np.float32))]
"""
    path = model(tmp_path / "m", execute)
    (path / "1" / "beside.py").write_text("VALUE = 21\n")
    with served(path) as one:
        assert one.infer(floats(1)).outputs["OUT"].tolist() == [42]
