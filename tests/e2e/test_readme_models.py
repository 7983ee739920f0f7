"""The examples of README.md, "Python models: what pyserver adds", as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc as triton

from tests.serving import grpc_client, serving

README = Path(__file__).resolve().parents[2] / "README.md"
DECOUPLED = """backend: "python"
model_transaction_policy { decoupled: true }
input { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] }
"""
CONFIGS = {"add": "", "stream": DECOUPLED, "scale": DECOUPLED}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    section = (
        README.read_text().split("### Python models: what pyserver adds")[1].split("\n### ")[0]
    )
    examples = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    folder = tmp_path_factory.mktemp("readme")
    for code, (name, config) in zip(examples, CONFIGS.items(), strict=True):
        version = folder / "models" / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(code)
        if config:
            (version.parent / "config.pbtxt").write_text(config)
    with serving(folder / "server.log", folder / "models") as server:
        with grpc_client(server) as made:
            yield made


def given(name: str, *values: float, rows: bool = False) -> triton.InferInput:
    array = np.array([values] if rows else values, np.float32)
    made = triton.InferInput(name, list(array.shape), "FP32")
    made.set_data_from_numpy(array)
    return made


def streamed(client: Any, name: str, *values: float) -> list[list[float]]:
    told: list[Any] = []
    client.start_stream(lambda result, error: told.append(error or result))
    client.async_stream_infer(name, [given("IN", *values)])
    client.stop_stream()
    return [one.as_numpy("OUT").tolist() for one in told]


def test_a_typed_function_needs_no_config(client: Any) -> None:
    result = client.infer("add", [given("a", 1, 2, rows=True), given("b", 3, 4, rows=True)])
    assert result.as_numpy("sum").tolist() == [[4, 6]]
    config = client.get_model_config("add", as_json=True)["config"]
    assert config["max_batch_size"] == 8 and "dynamic_batching" in config
    assert [group["count"] for group in config["instance_group"]] == [2]


def test_yields_are_responses(client: Any) -> None:
    assert streamed(client, "stream", 0, 0, 0, 0) == [[0], [1], [2]]


def test_constants_are_shared(client: Any) -> None:
    assert streamed(client, "scale", 1, 2, 3, 4) == [[0, 2, 6, 12]]
