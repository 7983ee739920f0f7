"""A server whose models call one another; `run` sends code to one of them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as client

from bench.targets.pyserver import Pyserver
from tests.bls.models import fill
from tests.serving import serving

Run = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("calls")
    fill(made)
    return made


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    with serving(
        log, repository, "--model-control-mode=explicit", "--load-model=lab", "--load-model=add"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def address(server: Pyserver) -> str:
    assert server.ports is not None
    return f"127.0.0.1:{server.ports.http}"


@pytest.fixture(scope="module")
def triton(address: str) -> Iterator[client.InferenceServerClient]:
    with client.InferenceServerClient(address, network_timeout=60) as made:
        for name in ("other_lab", "lab_of_two", "alab", "stream_lab", "add_batching", "count"):
            made.load_model(name)
        for name in ("sum_uint64", "sum_string", "mirror", "mirror_texts", "pair", "round"):
            made.load_model(name)
        for name in ("reflect", "die"):
            made.load_model(name)
        yield made


@pytest.fixture
def run(triton: client.InferenceServerClient) -> Run:
    def made(code: str, *values: float, model: str = "lab", **more: object) -> np.ndarray:
        array = np.array(values or [1], np.float32)
        given = client.InferInput("X", list(array.shape), "FP32")
        given.set_data_from_numpy(array)
        parameters = {"code": textwrap.dedent(code)}
        result = triton.infer(model, [given], parameters=parameters, **more)
        return result.as_numpy("Z")

    return made
