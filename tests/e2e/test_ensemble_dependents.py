"""Ensembles follow the models of their steps, as clients see it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as client

from bench.targets.pyserver import Pyserver
from tests.e2e.test_ensembles import (
    ADD,
    ROWS,
    add_config,
    engine_counters,
    ensemble,
    infer,
    pids_of,
    step,
    write,
)
from tests.serving import serving
from tests.waiting import wait_until

# Says that it has begun, and waits until it may go on, where the folder beside it asks for that.
GATED = """
import pathlib
import time

import numpy as np
import triton_python_backend_utils as pb_utils

HERE = pathlib.Path(__file__).parent


class TritonPythonModel:
    def execute(self, requests):
        if (HERE / "gate").exists():
            (HERE / "begun").touch()
            while (HERE / "gate").exists():
                time.sleep(0.005)
        values = [pb_utils.get_input_tensor_by_name(one, "X").as_numpy() for one in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Z", one + 1)]) for one in values]
"""
# Ends its process when it is asked, and from then on whenever it is loaded.
MORTAL = """
import os
import pathlib

import triton_python_backend_utils as pb_utils

DEAD = pathlib.Path(__file__).parent / "dead"


class TritonPythonModel:
    def initialize(self, args):
        if DEAD.exists():
            os._exit(3)

    def execute(self, requests):
        DEAD.touch()
        os._exit(3)
"""


def fill(repository: Path) -> None:
    write(repository, "gated", add_config(8), GATED)
    write(repository, "add", add_config(8), ADD)
    write(repository, "mortal", add_config(8), MORTAL)
    pair = [step("gated", {"X": "IN"}, {"Z": "a"}), step("add", {"X": "a"}, {"Z": "OUT"})]
    write(repository, "pair", ensemble(pair, ["OUT"]))
    write(repository, "around", ensemble([step("pair", {"IN": "IN"}, {"OUT": "OUT"})], ["OUT"]))
    dying = [step("mortal", {"X": "IN"}, {"Z": "OUT"})]
    write(repository, "dying", ensemble(dying, ["OUT"]))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    made = tmp_path / "models"
    fill(made)
    return made


@pytest.fixture
def server(tmp_path: Path, repository: Path) -> Iterator[Pyserver]:
    """Explicit mode, nothing loaded."""
    with serving(tmp_path / "server.log", repository, "--model-control-mode=explicit") as running:
        yield running


@pytest.fixture
def address(server: Pyserver) -> str:
    assert server.ports is not None
    return f"127.0.0.1:{server.ports.http}"


@pytest.fixture
def triton(address: str) -> Iterator[client.InferenceServerClient]:
    with client.InferenceServerClient(address) as made:
        yield made


def rewrite(repository: Path, name: str, old: str, new: str) -> None:
    config = repository / name / "config.pbtxt"
    before = config.stat().st_mtime_ns
    config.write_text(config.read_text().replace(old, new))
    os.utime(config, ns=(before + 10**9, before + 10**9))


def line_of(triton: client.InferenceServerClient, model: str) -> tuple[str, str]:
    index = {line["name"]: line for line in triton.get_model_repository_index()}
    return index[model]["state"], index[model].get("reason", "")


def refused(triton: client.InferenceServerClient, model: str) -> str:
    with pytest.raises(client.InferenceServerException) as caught:
        infer(triton, model, ROWS)
    return str(caught.value.message())


def ask_apart(address: str, model: str) -> np.ndarray:
    """In a thread of its own: a client of tritonclient belongs to one."""
    with client.InferenceServerClient(address) as own:
        return infer(own, model, ROWS)["OUT"]


def test_a_step_comes_back_and_the_ensembles_with_it(triton: client.InferenceServerClient) -> None:
    triton.load_model("around")
    triton.unload_model("gated")
    for model in ("pair", "around"):
        assert line_of(triton, model) == ("UNAVAILABLE", "unloaded")
        assert refused(triton, model) == (
            f"Request for unknown model: '{model}' has no available versions"
        )
    triton.load_model("gated")
    assert np.array_equal(infer(triton, "around", ROWS)["OUT"], ROWS + 2)


def test_a_step_of_another_type_takes_the_ensembles_out_until_it_fits_again(
    triton: client.InferenceServerClient, repository: Path
) -> None:
    triton.load_model("around")
    rewrite(repository, "add", "TYPE_FP32", "TYPE_FP16")
    triton.load_model("add")
    state, reason = line_of(triton, "pair")
    assert (state, reason) == (
        "UNAVAILABLE",
        "Invalid argument: in ensemble pair, ensemble tensor a: inconsistent data type: TYPE_FP32"
        " is inferred from model gated while TYPE_FP16 is inferred from model add",
    )
    assert reason in line_of(triton, "around")[1]
    assert not triton.is_server_ready()
    for model in ("pair", "around"):
        assert refused(triton, model).endswith("has no available versions")
    rewrite(repository, "add", "TYPE_FP16", "TYPE_FP32")
    triton.load_model("add")
    assert np.array_equal(infer(triton, "around", ROWS)["OUT"], ROWS + 2)
    assert triton.is_server_ready()


def test_a_step_of_other_dims_takes_the_ensemble_out_until_it_fits_again(
    triton: client.InferenceServerClient, repository: Path
) -> None:
    triton.load_model("pair")
    for model, dims in (("gated", "dims: [ 3 ]"), ("add", "dims: [ 4 ]")):
        rewrite(repository, model, "dims: [ -1 ]", dims)
        triton.load_model(model)
    assert line_of(triton, "pair") == (
        "UNAVAILABLE",
        "Invalid argument: in ensemble pair, ensemble tensor a: inconsistent shape: [-1,3] is"
        " inferred from model gated while [-1,4] is inferred from model add",
    )
    rewrite(repository, "add", "dims: [ 4 ]", "dims: [ 3 ]")
    triton.load_model("add")
    assert np.array_equal(infer(triton, "pair", ROWS)["OUT"], ROWS + 2)


def test_a_request_that_has_begun_ends_although_its_steps_are_reloaded(
    triton: client.InferenceServerClient, repository: Path, address: str
) -> None:
    triton.load_model("around")
    gate = repository / "gated" / "1" / "gate"
    gate.touch()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask_apart, address, "around")
        wait_until(gate.with_name("begun").exists, what="the first step")
        old = pids_of(address, "add")
        rewrite(repository, "add", "TYPE_FP32", "TYPE_FP16")
        triton.load_model("add")
        assert line_of(triton, "around")[0] == "UNAVAILABLE"
        assert old[0] in pids_of(address, "add")  # still needed
        gate.unlink()
        assert np.array_equal(answer.result(30), ROWS + 2)
    wait_until(lambda: old[0] not in pids_of(address, "add"), what="the old version's end")
    assert engine_counters(address)["live_runs"] == 0


def test_a_step_that_is_given_up_takes_the_ensemble_out(
    triton: client.InferenceServerClient, repository: Path
) -> None:
    triton.load_model("dying")
    assert "instance 'mortal_0' of model 'mortal' version 1 exited" in refused(triton, "dying")
    wait_until(
        lambda: line_of(triton, "dying")[0] == "UNAVAILABLE", timeout_s=30, what="it is given up"
    )
    assert line_of(triton, "dying")[1].startswith(
        "Invalid argument: ensemble 'dying' depends on 'mortal' which has no loaded version. Model"
        " 'mortal' version 1 is at UNAVAILABLE state: Unavailable: instance 'mortal_0' ended 5"
        " times within 30 s"
    )
    assert refused(triton, "dying").endswith("has no available versions")
    (repository / "mortal" / "1" / "model.py").write_text(ADD)
    triton.load_model("mortal")
    assert np.array_equal(infer(triton, "dying", ROWS)["OUT"], ROWS + 1)


def test_steps_that_came_with_an_ensemble_alone_can_go_with_it(
    triton: client.InferenceServerClient,
) -> None:
    triton.load_model("add")
    triton.load_model("around")
    triton.unload_model("around", unload_dependents=True)
    for model in ("around", "pair", "gated"):
        wait_until(lambda model=model: line_of(triton, model) == ("UNAVAILABLE", "unloaded"))
    assert line_of(triton, "add") == ("READY", "")


def test_a_steps_failure_counts_for_the_step_and_twice_for_each_ensemble(
    triton: client.InferenceServerClient,
) -> None:
    triton.load_model("around")
    assert "thirteen is refused" in _thirteen(triton, "around")
    for model, failures in (("around", 2), ("pair", 2), ("add", 1)):  # as Triton (trap 87)
        figures = triton.get_inference_statistics(model)["model_stats"][0]["inference_stats"]
        assert (figures["success"]["count"], figures["fail"]["count"]) == (0, failures)
    figures = triton.get_inference_statistics("gated")["model_stats"][0]["inference_stats"]
    assert (figures["success"]["count"], figures["fail"]["count"]) == (1, 0)


def _thirteen(triton: client.InferenceServerClient, model: str) -> str:
    with pytest.raises(client.InferenceServerException) as caught:
        infer(triton, model, np.full((1, 3), 12, np.float32))
    return str(caught.value.message())
