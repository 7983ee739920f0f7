"""Business logic scripting: models that call other models, over the real server."""

from __future__ import annotations

import http.client
import json
import textwrap
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tritonclient.http as client
from tritonclient.utils import InferenceServerException

from bench.targets.pyserver import Pyserver
from tests.e2e.bls_models import fill
from tests.serving import serving
from tests.waiting import wait_until

Run = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    repository = tmp_path_factory.mktemp("calls")
    fill(repository)
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


def engine_counters(address: str) -> dict[str, int]:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/v2/pyserver/counters")
        counters: dict[str, int] = json.loads(connection.getresponse().read())["engine"]
    finally:
        connection.close()
    return counters


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


def test_a_model_asks_another_one(run: Run) -> None:
    code = """
    def run(request):
        response = ask("add", [given(request)], request_id="mine", timeout=12).exec()
        assert response.parameters() == '{"id":"mine","timeout":12}', response.parameters()
        assert len(response.output_tensors()) == 1
        return out(response)
    """
    assert run(code, 1, 2).tolist() == [2, 3]
