"""What every backend of the registry keeps: it can be imported by name, loads a model that is
right, answers, refuses what is wrong with a ServerError, and stops.

A new backend is tested by having a row in the registry and an example in `EXAMPLES`.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pyserver.backends import BACKENDS, backend_info
from pyserver.backends.interface import make_backend
from tests.instance.serving import LoadFailed, served, tensors, write_model

TENSORS = tensors("input", [("INPUT0", "FP32", [-1])])
TENSORS += tensors("output", [("OUTPUT0", "FP32", [-1])])

PYTHON = """
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0",
                pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy())])
            for request in requests
        ]
"""


def _onnx_identity(folder: Path, config: str) -> Path:
    onnx = pytest.importorskip("onnx")
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])],
        "identity",
        [info("INPUT0", 1, ("n", "m"))],
        [info("OUTPUT0", 1, ("n", "m"))],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    write_model(folder, config)
    made = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.save(made, folder / "1" / "model.onnx")
    return folder


# For each backend, how to make a model whose OUTPUT0 is INPUT0, with the given config.
EXAMPLES: dict[str, Callable[[Path, str], Path]] = {
    "identity": write_model,
    "onnxruntime": _onnx_identity,
    "python": lambda folder, config: write_model(folder, config, PYTHON),
}


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def _config(backend: str, batching: str = "") -> str:
    return f'backend: "{backend}"\n{batching}{TENSORS}'


def test_every_backend_has_an_example() -> None:
    assert sorted(EXAMPLES) == sorted(BACKENDS)


def test_the_registry_imports_nothing() -> None:
    code = (
        "import sys, pyserver.backends; "
        "heavy = {'numpy', 'onnxruntime', 'google.protobuf', 'pyserver._core'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_row_names_a_class_with_the_interface(backend: str) -> None:
    info = backend_info(backend)
    assert info is not None and info.name == backend
    made = make_backend(info)
    assert callable(made.describe) and callable(made.load)
    assert importlib.import_module(info.entry.partition(":")[0]).__doc__


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("columns", [0, 1, 70_000])
def test_it_answers(tmp_path: Path, backend: str, rows: int, columns: int) -> None:
    path = EXAMPLES[backend](tmp_path / "m", _config(backend, "max_batch_size: 4\n"))
    with served(path) as one:
        given = np.random.default_rng(1).random((rows, columns), np.float32)
        for alignment in (64, 1):
            response = one.infer({"INPUT0": given}, rows=rows, alignment=alignment)
            np.testing.assert_array_equal(response.outputs["OUTPUT0"], given)


def test_it_answers_batches_and_gives_everything_back(tmp_path: Path, backend: str) -> None:
    batching = "max_batch_size: 8\ndynamic_batching { max_queue_delay_microseconds: 1000 }\n"
    path = EXAMPLES[backend](tmp_path / "m", _config(backend, batching))
    with served(path) as one:
        made = [np.full((1 + n % 3, 5), n, np.float32) for n in range(400)]
        calls = [one.submit({"INPUT0": given}, rows=len(given)) for given in made]
        for given, call in zip(made, calls, strict=True):
            (response,) = one.client.wait(call)
            np.testing.assert_array_equal(response.outputs["OUTPUT0"], given)


def test_a_request_that_cannot_be_believed_harms_only_itself(tmp_path: Path, backend: str) -> None:
    path = EXAMPLES[backend](tmp_path / "m", _config(backend, "max_batch_size: 4\n"))
    with served(path) as one:
        for shape in [(1, 3), (1, 2**40), (-1, 4)]:
            response = one.infer({"INPUT0": ("FP32", shape, b"\0" * 16)})
            assert response.failed and "'INPUT0'" in response.message
        fine = np.ones((1, 2), np.float32)
        np.testing.assert_array_equal(one.infer({"INPUT0": fine}).outputs["OUTPUT0"], fine)


@pytest.mark.parametrize("backend", sorted(set(BACKENDS) - {"identity"}))  # which has no file
def test_a_model_without_its_file_is_refused(tmp_path: Path, backend: str) -> None:
    path = write_model(tmp_path / "m", _config(backend))
    with pytest.raises(LoadFailed, match="m"), served(path):
        pass


def test_core_that_goes_away_takes_the_process_with_it(tmp_path: Path, backend: str) -> None:
    path = EXAMPLES[backend](tmp_path / "m", _config(backend, "max_batch_size: 4\n"))
    with served(path) as one:
        one.nothing_is_held()
        one.control.close()
        assert one.process.wait(10) == 1
        one.process.returncode = 0  # as it should be, here
