"""Ensembles of Python models: chains, diamonds, ensembles of ensembles, errors, loading."""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as client

from bench.targets.pyserver import Pyserver
from tests.serving import serving
from tests.waiting import wait_until

ADD = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            values = [
                pb_utils.get_input_tensor_by_name(request, name) for name in ("X", "Y")
            ]
            arrays = [value.as_numpy() for value in values if value is not None]
            if (arrays[0] == 13).any():
                responses.append(
                    pb_utils.InferenceResponse(error=pb_utils.TritonError("thirteen is refused"))
                )
                continue
            total = sum(arrays) + (1 if len(arrays) == 1 else 0)
            responses.append(
                pb_utils.InferenceResponse([pb_utils.Tensor("Z", total.astype(np.float32))])
            )
        return responses
"""
# Gives its input back by reference, as many times as it says.
REPEAT = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            values = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            for number in range(int(values.flat[0])):
                tensor = pb_utils.Tensor("Z", values + number)
                sender.send(pb_utils.InferenceResponse([tensor]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
TENSOR = '{{ name: "{name}" data_type: TYPE_FP32 dims: [ {dims} ] {more} }}'


def tensor(name: str, dims: str = "-1", more: str = "") -> str:
    return TENSOR.format(name=name, dims=dims, more=more)


def write(repository: Path, name: str, config: str, code: str | None = None) -> None:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    if code is not None:
        (version / "model.py").write_text(code)


def step(model: str, inputs: dict[str, str], outputs: dict[str, str], version: int = -1) -> str:
    maps = [f'input_map {{ key: "{key}" value: "{value}" }}' for key, value in inputs.items()]
    maps += [f'output_map {{ key: "{key}" value: "{value}" }}' for key, value in outputs.items()]
    return f'{{ model_name: "{model}" model_version: {version} {" ".join(maps)} }}'


def ensemble(steps: list[str], outputs: list[str], batch: int = 8, more: str = "") -> str:
    return (
        f'platform: "ensemble"\nmax_batch_size: {batch}\n'
        f"input [ {tensor('IN')} ]\noutput [ {', '.join(map(tensor, outputs))} ]\n"
        f"ensemble_scheduling {{ step [ {', '.join(steps)} ] {more} }}\n"
    )


def add_config(batch: int, more: str = "") -> str:
    inputs = f"{tensor('X')}, {tensor('Y', more='optional: true')}"
    return (
        f'backend: "python"\nmax_batch_size: {batch}\ninput [ {inputs} ]\n'
        f"output [ {tensor('Z')} ]\n{more}\n"
    )


def fill(repository: Path) -> None:
    write(repository, "add", add_config(8, "dynamic_batching {}"), ADD)
    write(repository, "add_flat", add_config(0), ADD)
    repeat = (
        f'backend: "python"\nmax_batch_size: 8\ninput [ {tensor("X")} ]\n'
        f"output [ {tensor('Z')} ]\nmodel_transaction_policy {{ decoupled: true }}\n"
    )
    write(repository, "repeat", repeat, REPEAT)
    chain = [step("add", {"X": "IN"}, {"Z": "a"}), step("add", {"X": "a"}, {"Z": "OUT"})]
    write(repository, "chain", ensemble(chain, ["OUT"]))
    diamond = [
        step("add", {"X": "IN"}, {"Z": "left"}),
        step("add", {"X": "IN", "Y": "IN"}, {"Z": "RIGHT"}),
        step("add", {"X": "left", "Y": "RIGHT"}, {"Z": "OUT"}),
    ]
    write(repository, "diamond", ensemble(diamond, ["OUT", "RIGHT"]))
    nested = [
        step("chain", {"IN": "IN"}, {"OUT": "c"}),
        step("diamond", {"IN": "c"}, {"OUT": "OUT"}),
    ]
    write(repository, "nested", ensemble(nested, ["OUT"]))
    mixed = [step("add", {"X": "IN"}, {"Z": "a"}), step("add_flat", {"X": "a"}, {"Z": "OUT"})]
    write(repository, "mixed", ensemble(mixed, ["OUT"], batch=1))
    several = [step("repeat", {"X": "IN"}, {"Z": "r"}), step("add", {"X": "r"}, {"Z": "OUT"})]
    write(repository, "several", ensemble(several, ["OUT"]))
    # These cannot be loaded.
    write(repository, "round_a", ensemble([step("round_b", {"IN": "IN"}, {"OUT": "OUT"})], ["OUT"]))
    write(repository, "round_b", ensemble([step("round_a", {"IN": "IN"}, {"OUT": "OUT"})], ["OUT"]))
    write(repository, "lost", ensemble([step("nowhere", {"X": "IN"}, {"Z": "OUT"})], ["OUT"]))
    fixed = [step("add", {"X": "IN"}, {"Z": "OUT"}, version=7)]
    write(repository, "fixed", ensemble(fixed, ["OUT"]))
    wrong = ensemble([step("add", {"X": "IN"}, {"Z": "OUT"})], ["OUT"]).replace("FP32", "FP16", 1)
    write(repository, "mismatch", wrong)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    """Explicit mode, nothing loaded."""
    repository = tmp_path_factory.mktemp("ensembles")
    fill(repository)
    log = tmp_path_factory.mktemp("log") / "server.log"
    with serving(log, repository, "--model-control-mode=explicit") as running:
        yield running


@pytest.fixture(scope="module")
def address(server: Pyserver) -> str:
    assert server.ports is not None
    return f"127.0.0.1:{server.ports.http}"


@pytest.fixture
def triton(address: str) -> Iterator[client.InferenceServerClient]:
    with client.InferenceServerClient(address) as made:
        yield made


def engine_counters(address: str) -> dict[str, int]:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/v2/pyserver/counters")
        counters: dict[str, int] = json.loads(connection.getresponse().read())["engine"]
    finally:
        connection.close()
    return counters


def infer(
    triton: client.InferenceServerClient, model: str, data: np.ndarray, *outputs: str
) -> dict[str, np.ndarray]:
    given = client.InferInput("IN", list(data.shape), "FP32")
    given.set_data_from_numpy(data)
    wanted = [client.InferRequestedOutput(name) for name in outputs]
    result = triton.infer(model, [given], outputs=wanted or None, request_id="7")
    names = [output["name"] for output in result.get_response()["outputs"]]
    return {name: result.as_numpy(name) for name in names}


ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_a_chain_runs_and_its_model_is_loaded_by_itself(
    triton: client.InferenceServerClient, address: str
) -> None:
    triton.load_model("chain")
    assert triton.is_model_ready("add")
    for _ in range(3):
        assert np.array_equal(infer(triton, "chain", ROWS)["OUT"], ROWS + 2)
    counters = engine_counters(address)
    assert counters["ensemble_copied_bytes"] == 0
    assert counters["live_runs"] == 0
    statistics = triton.get_inference_statistics("chain")["model_stats"][0]
    assert statistics["inference_stats"]["success"]["count"] == 3
    assert statistics["inference_count"] == 6
    assert triton.get_model_config("chain")["platform"] == "ensemble"
    assert triton.get_model_metadata("chain")["platform"] == "ensemble"


def test_a_large_tensor_passes_the_steps(triton: client.InferenceServerClient) -> None:
    triton.load_model("chain")
    data = np.random.default_rng(1).random((4, 1 << 18), dtype=np.float32)
    assert np.array_equal(infer(triton, "chain", data)["OUT"], data + 2)


def test_a_diamond_runs_both_sides_and_leaves_out_what_nobody_wants(
    triton: client.InferenceServerClient,
) -> None:
    triton.load_model("diamond")
    both = infer(triton, "diamond", ROWS)
    assert np.array_equal(both["RIGHT"], 2 * ROWS)
    assert np.array_equal(both["OUT"], 3 * ROWS + 1)
    before = _successes(triton, "add")
    assert list(infer(triton, "diamond", ROWS, "RIGHT")) == ["RIGHT"]
    assert _successes(triton, "add") == before + 1


def _successes(triton: client.InferenceServerClient, model: str) -> int:
    figures = triton.get_inference_statistics(model)["model_stats"][0]["inference_stats"]
    return int(figures["success"]["count"])


def test_an_ensemble_of_ensembles(triton: client.InferenceServerClient) -> None:
    triton.load_model("nested")
    assert np.array_equal(infer(triton, "nested", ROWS)["OUT"], 3 * (ROWS + 2) + 1)


def test_the_batch_dimension_goes_and_comes(triton: client.InferenceServerClient) -> None:
    triton.load_model("mixed")
    assert np.array_equal(infer(triton, "mixed", ROWS[:1])["OUT"], ROWS[:1] + 2)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("chain", "in ensemble 'chain', thirteen is refused"),
        ("nested", "in ensemble 'nested', in ensemble 'chain', thirteen is refused"),
    ],
)
def test_a_failing_steps_error_names_the_ensemble(
    triton: client.InferenceServerClient, address: str, model: str, text: str
) -> None:
    triton.load_model(model)
    with pytest.raises(client.InferenceServerException) as caught:
        infer(triton, model, np.full((1, 3), 13, np.float32))
    assert caught.value.message() == text
    assert np.array_equal(infer(triton, "chain", ROWS)["OUT"], ROWS + 2)
    assert engine_counters(address)["live_runs"] == 0


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("round_a", "circular dependency between ensembles: round_a -> round_b -> round_a"),
        ("lost", "ensemble lost contains models that are not available or ambiguous: nowhere"),
        ("fixed", "ensemble 'fixed' depends on 'add' whose required version 7 is not loaded."),
        (
            "mismatch",
            "in ensemble mismatch, ensemble tensor IN: inconsistent data type: TYPE_FP16 is"
            " inferred from model mismatch while TYPE_FP32 is inferred from model add",
        ),
    ],
)
def test_an_ensemble_that_does_not_fit_is_not_loaded(
    triton: client.InferenceServerClient, model: str, text: str
) -> None:
    with pytest.raises(client.InferenceServerException) as caught:
        triton.load_model(model)
    assert caught.value.message() == f"load failed for model '{model}': {text}\n"
    assert {"name": model} in triton.get_model_repository_index()  # as if it had never been loaded
    assert not triton.is_model_ready(model)


def test_an_ensemble_goes_with_its_model(triton: client.InferenceServerClient) -> None:
    triton.load_model("nested")
    triton.unload_model("add")
    assert not triton.is_model_ready("chain")
    assert not triton.is_model_ready("nested")
    triton.load_model("nested")
    assert np.array_equal(infer(triton, "nested", ROWS)["OUT"], 3 * (ROWS + 2) + 1)


def test_each_answer_of_a_decoupled_step_is_one_of_the_ensemble(
    triton: client.InferenceServerClient, server: Pyserver
) -> None:
    triton.load_model("several")
    assert triton.get_model_config("several")["model_transaction_policy"]["decoupled"]
    assert server.ports is not None
    answers: queue.Queue[object] = queue.Queue()
    with grpc_client.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as streaming:
        streaming.start_stream(lambda result, error: answers.put(error or result))
        given = grpc_client.InferInput("IN", [1, 2], "FP32")
        given.set_data_from_numpy(np.full((1, 2), 3, np.float32))
        streaming.async_stream_infer("several", [given], enable_empty_final_response=True)
        results = [answers.get(timeout=10) for _ in range(4)]
        streaming.stop_stream()
    values = []
    for result in results[:3]:
        assert isinstance(result, grpc_client.InferResult), result
        values.append(result.as_numpy("OUT").flat[0])
    assert sorted(values) == [4, 5, 6]
    assert isinstance(results[3], grpc_client.InferResult)
    assert results[3].get_response().parameters["triton_final_response"].bool_param


def test_a_models_new_process_reads_the_others_memory(
    triton: client.InferenceServerClient, address: str
) -> None:
    triton.load_model("mixed")
    assert np.array_equal(infer(triton, "mixed", ROWS[:1])["OUT"], ROWS[:1] + 2)
    pids = pids_of(address, "add_flat")
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: pids_of(address, "add_flat") not in ([], [0], pids), what="a new process")
    # Until it serves, a request waits for it.
    assert np.array_equal(infer(triton, "mixed", ROWS[:1])["OUT"], ROWS[:1] + 2)
    assert engine_counters(address)["live_runs"] == 0


def pids_of(address: str, model: str) -> list[int]:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/v2/pyserver/counters")
        instances = json.loads(connection.getresponse().read())["instances"]
    finally:
        connection.close()
    return [one["pid"] for one in instances if one["model"] == model]
