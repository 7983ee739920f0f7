"""Instance groups on machines with and without GPUs: what is filled in, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pyserver.config.load import finish
from pyserver.config.model_config_pb2 import ModelConfig, ModelInstanceGroup
from pyserver.config.normalize import host_policy_of
from pyserver.errors import InvalidArgumentError

AUTO, GPU, CPU, MODEL = 0, 1, 2, 3

# (backend, GPUs of the machine, groups as written, groups as normalised: name, kind, count, gpus)
GOOD: list[tuple[str, int, list[dict[str, Any]], list[tuple[str, int, int, list[int]]]]] = [
    ("python", 0, [], [("m", CPU, 1, [])]),
    ("python", 2, [], [("m", GPU, 1, [0, 1])]),
    ("openvino", 2, [], [("m", CPU, 1, [])]),
    ("onnxruntime", 0, [], [("m", CPU, 2, [])]),
    ("onnxruntime", 1, [], [("m", GPU, 1, [0])]),
    ("onnxruntime", 0, [{"count": 1}], [("m_0", CPU, 1, [])]),
    ("onnxruntime", 1, [{"kind": CPU}], [("m_0", CPU, 2, [])]),
    ("onnxruntime", 1, [{"kind": MODEL}], [("m_0", MODEL, 1, [])]),
    ("tensorflow", 0, [{"count": -1}], [("m_0", CPU, 2, [])]),
    ("python", 2, [{"gpus": [1]}], [("m_0", GPU, 1, [1])]),
    ("python", 2, [{"kind": GPU, "count": 3}], [("m_0", GPU, 3, [0, 1])]),
    ("python", 2, [{"kind": GPU, "gpus": [1, 1]}], [("m_0", GPU, 1, [1, 1])]),
    (
        "python",
        1,
        [{"name": "a"}, {"kind": CPU}, {"kind": MODEL, "count": 4}],
        [("a", GPU, 1, [0]), ("m_1", CPU, 1, []), ("m_2", MODEL, 4, [])],
    ),
]


@pytest.mark.parametrize(("backend", "gpu_count", "written", "wanted"), GOOD)
def test_groups_are_filled_in(
    backend: str,
    gpu_count: int,
    written: list[dict[str, Any]],
    wanted: list[tuple[str, int, int, list[int]]],
) -> None:
    config = ModelConfig(name="m", backend=backend, instance_group=written)
    config.platform = {"onnxruntime": "onnxruntime_onnx", "tensorflow": "tensorflow_graphdef"}.get(
        backend, ""
    )
    made = finish(config, gpu_count=gpu_count)
    assert [(g.name, g.kind, g.count, list(g.gpus)) for g in made.instance_group] == wanted


# (GPUs of the machine, group, what the error says behind the model's name)
BAD: list[tuple[int, dict[str, Any], str]] = [
    (0, {"kind": GPU}, "has kind KIND_GPU but no GPUs are available"),
    (0, {"gpus": [0]}, "has kind KIND_CPU but specifies one or more GPUs"),
    (1, {"gpus": [1]}, "has kind KIND_CPU but specifies one or more GPUs"),
    (1, {"kind": CPU, "gpus": [0]}, "has kind KIND_CPU but specifies one or more GPUs"),
    (1, {"kind": MODEL, "gpus": [0]}, "has kind KIND_MODEL but specifies one or more GPUs"),
    (2, {"kind": GPU, "gpus": [0, 2]}, "specifies invalid or unsupported gpu id 2. GPUs with"),
    (2, {"kind": GPU, "gpus": [-1]}, "6.000000 are: 0, 1"),
    (1, {"profile": ["0"]}, "specifies profile field which is only supported for TensorRT"),
]


@pytest.mark.parametrize(("gpu_count", "group", "text"), BAD)
def test_groups_that_cannot_be_are_refused(
    gpu_count: int, group: dict[str, Any], text: str
) -> None:
    config = ModelConfig(name="m", backend="python", instance_group=[group])
    with pytest.raises(InvalidArgumentError) as raised:
        finish(config, gpu_count=gpu_count)
    assert str(raised.value).startswith("instance group m_0 of model m ")
    assert text in str(raised.value)


@pytest.mark.parametrize(
    ("profile", "good"), [("0", True), ("12", True), ("", False), ("-1", False), ("x", False)]
)
def test_a_tensorrt_profile_is_a_number(profile: str, good: bool) -> None:
    config = ModelConfig(name="m", backend="tensorrt", platform="tensorrt_plan")
    config.instance_group.add(profile=[profile], kind=CPU)
    if good:
        finish(config, gpu_count=0)
    else:
        with pytest.raises(InvalidArgumentError, match="specifies invalid profile"):
            finish(config, gpu_count=0)


@pytest.mark.parametrize(
    ("group", "policy"),
    [({"kind": GPU}, "gpu_3"), ({"kind": CPU}, "cpu"), ({"kind": MODEL}, "model"), ({}, "cpu"),
     ({"kind": GPU, "host_policy": "mine"}, "mine")],
)  # fmt: skip
def test_an_instance_has_a_host_policy(group: dict[str, Any], policy: str) -> None:
    assert host_policy_of(ModelInstanceGroup(**group), 3) == policy
