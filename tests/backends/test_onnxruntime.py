"""The ONNX Runtime backend: binding, batching, shapes that only the run tells, strings, errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyserver.backends.interface import ModelInfo
from pyserver.backends.onnx_session import Device, default_threads, open_session
from pyserver.backends.onnxruntime import OnnxRuntimeBackend
from pyserver.errors import UnavailableError
from tests.instance.serving import LoadFailed, served, tensors, write_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FLOAT, INT64, STRING, BFLOAT16 = 1, 7, 8, 16


def onnx_model(
    folder: Path,
    nodes: Sequence[Any],
    inputs: dict[str, tuple[int, Sequence[Any]]],
    outputs: dict[str, tuple[int, Sequence[Any]]],
    config: str = "",
) -> Path:
    """A model directory with model.onnx made of `nodes`; shapes may hold names."""
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        list(nodes),
        "test",
        [info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [info(name, kind, shape) for name, (kind, shape) in outputs.items()],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    made = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    write_model(folder, config)
    onnx.save(made, folder / "1" / "model.onnx")
    return folder


def add_sub(folder: Path, batch: Sequence[Any] = ("n",), config: str = "") -> Path:
    shape = (FLOAT, (*batch, 4))
    nodes = [
        onnx.helper.make_node("Add", ["A", "B"], ["SUM"]),
        onnx.helper.make_node("Sub", ["A", "B"], ["DIFFERENCE"]),
    ]
    return onnx_model(
        folder, nodes, {"A": shape, "B": shape}, {"SUM": shape, "DIFFERENCE": shape}, config
    )


def rows(*values: float) -> np.ndarray:
    return np.array([[value] * 4 for value in values], np.float32)


BATCHING = (
    'backend: "onnxruntime"\nmax_batch_size: 8\n'
    "dynamic_batching { max_queue_delay_microseconds: 200000 preferred_batch_size: [8] }\n"
    + tensors("input", [("A", "FP32", [4]), ("B", "FP32", [4])])
    + tensors("output", [("SUM", "FP32", [4]), ("DIFFERENCE", "FP32", [4])])
)


def test_a_model_without_a_config_is_completed_and_answers(tmp_path: Path) -> None:
    with served(add_sub(tmp_path / "m")) as one:
        assert one.config.max_batch_size == 4
        response = one.infer({"A": rows(5), "B": rows(2)})
        assert response.outputs["SUM"].tolist() == [[7] * 4]
        assert response.outputs["DIFFERENCE"].tolist() == [[3] * 4]
        assert list(one.infer({"A": rows(5), "B": rows(2)}, ["SUM"]).outputs) == ["SUM"]


def test_a_batch_is_run_once_and_every_request_gets_its_rows(tmp_path: Path) -> None:
    with served(add_sub(tmp_path / "m", config=BATCHING)) as one:
        calls = []
        for first, count in [(1, 3), (10, 1), (20, 4)]:
            given = rows(*range(first, first + count))
            calls.append((given, one.submit({"A": given, "B": given}, rows=count, alignment=1)))
        places = set()
        for given, call in calls:
            (response,) = one.client.wait(call)
            np.testing.assert_array_equal(response.outputs["SUM"], given * 2)
            np.testing.assert_array_equal(response.outputs["DIFFERENCE"], given * 0)
            places.add(response.places["SUM"][0])
        assert places == set(one.peers)
        assert one.engine.statistics(7)["execution_count"] == 1


def test_instances_are_threads_over_one_session(tmp_path: Path) -> None:
    with served(add_sub(tmp_path / "m"), instances=3) as one:
        calls = [one.submit({"A": rows(n), "B": rows(1)}) for n in range(300)]
        for number, call in enumerate(calls):
            assert one.client.wait(call)[0].outputs["SUM"][0, 0] == number + 1


def test_an_output_whose_shape_only_the_run_tells(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("NonZero", ["A"], ["WHERE"])]
    path = onnx_model(tmp_path / "m", nodes, {"A": (FLOAT, (4,))}, {"WHERE": (INT64, (1, "found"))})
    with served(path) as one:
        for given in ([1, 0, 2, 0], [0, 0, 0, 0]):
            array = np.array(given, np.float32)
            response = one.infer({"A": array})
            np.testing.assert_array_equal(response.outputs["WHERE"], np.stack(array.nonzero()))


def test_strings_in_and_out_in_batches(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Identity", ["A"], ["SAME"]),
        onnx.helper.make_node("Shape", ["A"], ["shape"]),
        onnx.helper.make_node("Identity", ["N"], ["M"]),
    ]
    config = (
        'backend: "onnxruntime"\nmax_batch_size: 4\n'
        "dynamic_batching { max_queue_delay_microseconds: 200000 preferred_batch_size: [3] }\n"
        + tensors("input", [("A", "STRING", [2]), ("N", "FP32", [1])])
        + tensors("output", [("SAME", "STRING", [2]), ("M", "FP32", [1])])
    )
    path = onnx_model(
        tmp_path / "m",
        nodes,
        {"A": (STRING, ("n", 2)), "N": (FLOAT, ("n", 1))},
        {"SAME": (STRING, ("n", 2)), "M": (FLOAT, ("n", 1))},
        config,
    )
    with served(path) as one:
        first = np.array([["a", "bc"], ["", "défg"]], dtype=object)
        second = np.array([["longer text", "x"]], dtype=object)
        calls = []
        for given in (first, second):
            wire = np.vectorize(str.encode, otypes=[object])(given)
            number = np.arange(len(given), dtype=np.float32).reshape(-1, 1)
            calls.append((wire, number, one.submit({"A": wire, "N": number}, rows=len(given))))
        for wire, number, call in calls:
            (response,) = one.client.wait(call)
            assert response.outputs["SAME"].tolist() == wire.tolist()
            np.testing.assert_array_equal(response.outputs["M"], number)


def test_bf16_is_bound_as_it_is(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Identity", ["A"], ["SAME"])]
    shape = (BFLOAT16, (2,))
    with served(onnx_model(tmp_path / "m", nodes, {"A": shape}, {"SAME": shape})) as one:
        response = one.infer({"A": ("BF16", (2,), b"\x80\x3f\x00\x40")})
        assert response.outputs["SAME"] == b"\x80\x3f\x00\x40"
        assert response.datatypes["SAME"] == "BF16"


def test_an_error_of_the_run_is_onnx_runtimes(tmp_path: Path) -> None:
    config = BATCHING.replace("[4]", "[-1]", 4)
    with served(add_sub(tmp_path / "m", config=config)) as one:
        three = np.zeros((1, 3), np.float32)
        response = one.infer({"A": three, "B": three})
        assert response.code == 1
        assert response.message.startswith("onnx runtime error 2: ")
        assert not one.infer({"A": rows(1), "B": rows(1)}).failed


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (BATCHING.replace("FP32", "INT32"), "datatype TYPE_INT32 for input 'A', model provides"),
        (
            BATCHING.replace('"A"', '"Z"'),
            "unexpected inference input 'Z', allowed inputs are: A, B",
        ),
        (BATCHING.replace("dims: [4]", "dims: [5]"), "tensor 'A': the model expects 2 dimensions"),
        (
            BATCHING + 'parameters { key: "intra_op_thread_count" value { string_value: "x" } }',
            "'intra_op_thread_count'",
        ),
        (
            BATCHING + "optimization { execution_accelerators { cpu_execution_accelerator: [ {"
            ' name: "openvino" } ] } }',
            "OpenVINOExecutionProvider",
        ),
        (BATCHING.replace('"SUM"', '"OTHER"'), "unexpected inference output 'OTHER'"),
    ],
)
def test_configs_that_are_not_the_models(tmp_path: Path, config: str, text: str) -> None:
    path = add_sub(tmp_path / "m", config=config)
    with pytest.raises(LoadFailed) as failure, served(path):
        pass
    assert text in str(failure.value)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m", "")
    (path / "1" / "model.onnx").write_bytes(b"not a model")
    with (
        pytest.raises(LoadFailed, match="failed to load model 'm': onnx runtime error"),
        served(path),
    ):
        pass


def test_sequences_and_maps_cannot_be_served(tmp_path: Path) -> None:
    import onnxruntime

    path = write_model(tmp_path / "m", "")
    source = Path(onnxruntime.__file__).parent / "datasets" / "logreg_iris.onnx"
    (path / "1" / "model.onnx").write_bytes(source.read_bytes())
    with pytest.raises(LoadFailed, match="only tensors"), served(path):
        pass


def test_a_scalar_is_one_element_to_clients(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Mul", ["A", "FACTOR"], ["OUT"]),
        onnx.helper.make_node("Identity", ["FACTOR"], ["SAME"]),
    ]
    path = onnx_model(
        tmp_path / "m",
        nodes,
        {"A": (FLOAT, (3,)), "FACTOR": (FLOAT, ())},
        {"OUT": (FLOAT, (3,)), "SAME": (FLOAT, ())},
    )
    with served(path) as one:
        given = {"A": np.ones(3, np.float32), "FACTOR": np.full(1, 5, np.float32)}
        response = one.infer(given)
        assert response.outputs["OUT"].tolist() == [5] * 3
        assert response.outputs["SAME"].tolist() == [5]


def _info(path: Path, config: dict[str, Any] | None = None) -> ModelInfo:
    return ModelInfo("m", 1, path, path / "1", "{}", config=config or {})


def test_without_the_framework_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UnavailableError, match=r"pip install 'pyserver\[onnx\]'"):
        OnnxRuntimeBackend().describe(_info(add_sub(tmp_path / "m")))


def test_an_instance_on_a_gpu_needs_a_provider_for_it(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has it")
    info = _info(add_sub(tmp_path / "m"))
    with pytest.raises(UnavailableError, match="CUDAExecutionProvider"):
        open_session(info, Device("KIND_GPU", 0))
    accelerators = {"gpu_execution_accelerator": [{"name": "tensorrt", "parameters": {}}]}
    info = _info(info.model_dir, {"optimization": {"execution_accelerators": accelerators}})
    with pytest.raises(UnavailableError, match="TensorrtExecutionProvider"):
        open_session(info, Device("KIND_GPU", 0))


def test_threads_are_divided_among_instances(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    assert default_threads(_info(tmp_path)) == cores
    groups = [{"count": 2 * cores, "gpus": []}]
    assert default_threads(_info(tmp_path, {"instance_group": groups})) == 1
