"""The rate limiter from end to end: models that need the same resource do not execute at the same
time, and who cannot ever execute does not load.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from tests.serving import serving
from tests.waiting import wait_until

PROGRAM = Path(__file__).with_name("timed_program.py")
LIMITED = "--rate-limit=execution_count"
# Which resources the instances of each model need.
NEEDS = {
    "one": '{ name: "R" count: 1 }',
    "other": '{ name: "R" count: 1 }',
    "both": '{ name: "R" count: 2 }',
    "apart": '{ name: "S" count: 1 }',
    "shared": '{ name: "G" global: true count: 1 }',
    "at_odds": '{ name: "G" count: 1 }',
}
REQUESTS = 20
NOTHING, MEETS, DIES = 0, 1, 2  # what a request wishes of the program


class Rated:
    """A server with these models, and what they have noted."""

    def __init__(self, client: Any, notes: Path) -> None:
        self.client = client
        self.notes = notes

    def ask(self, model: str, wish: int = NOTHING) -> int:
        tensor = triton.InferInput("X", [1], "INT32")
        tensor.set_data_from_numpy(np.array([wish], np.int32))
        return int(self.client.infer(model, [tensor], client_timeout=30).as_numpy("OUT")[0])

    def ask_all(self, *models: str) -> None:
        """Many requests at once, to each of the models."""
        with ThreadPoolExecutor(max_workers=8) as threads:
            list(threads.map(self.ask, models * REQUESTS))

    def most_at_once(self, *models: str) -> int:
        """How many of the models' batches executed at the same time, at most."""
        running = most = 0
        for line in self.notes.read_text().splitlines():
            what, model = line.split()
            if model in models:
                running += 1 if what == "begin" else -1
                most = max(most, running)
        assert running == 0
        return most


def lay_out(folder: Path, notes: Path, instances: int) -> Path:
    for name, needs in NEEDS.items():
        model = folder / name
        (model / "1").mkdir(parents=True)
        shutil.copy(PROGRAM, model / "1" / "model.py")
        (model / "config.pbtxt").write_text(
            'backend: "python" max_batch_size: 0\n'
            'input [ { name: "X" data_type: TYPE_INT32 dims: [ 1 ] } ]\n'
            'output [ { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] } ]\n'
            f"instance_group [ {{ kind: KIND_CPU count: {instances}\n"
            f"  rate_limiter {{ resources [ {needs} ] }} }} ]\n"
            f'parameters {{ key: "notes" value {{ string_value: "{notes}" }} }}\n'
        )
    return folder


@pytest.fixture
def rated(tmp_path: Path) -> Iterator[Callable[..., Rated]]:
    with ExitStack() as servers:

        def start(*flags: str, models: tuple[str, ...] = (), instances: int = 1) -> Rated:
            notes = tmp_path / "notes"
            notes.touch()
            server = servers.enter_context(
                serving(
                    tmp_path / "server.log",
                    lay_out(tmp_path / "models", notes, instances),
                    "--model-control-mode=explicit",
                    *(f"--load-model={name}" for name in models),
                    *flags,
                )
            )
            assert server.ports is not None
            client = triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")
            servers.callback(client.close)
            return Rated(client, notes)

        yield start


def test_models_with_a_common_resource_never_execute_at_the_same_time(
    rated: Callable[..., Rated],
) -> None:
    models = ("one", "other")
    server = rated(LIMITED, models=models, instances=2)
    server.ask_all(*models)
    assert server.most_at_once(*models) == 1
    figures = server.client.get_inference_statistics("one").model_stats[0]
    assert figures.inference_stats.success.count == REQUESTS


def test_as_many_execute_at_the_same_time_as_the_resource_lasts_for(
    rated: Callable[..., Rated],
) -> None:
    models = ("one", "other", "both")
    server = rated(LIMITED, "--rate-limit-resource=R:3", models=models, instances=2)
    server.ask_all(*models)
    assert server.most_at_once(*models) <= 3
    assert server.most_at_once("both") == 1


def test_models_with_other_resources_execute_at_the_same_time(rated: Callable[..., Rated]) -> None:
    server = rated(LIMITED, models=("one", "apart"))
    with ThreadPoolExecutor(max_workers=2) as threads:
        list(threads.map(server.ask, ("one", "apart"), (MEETS, MEETS)))
    assert server.most_at_once("one", "apart") == 2


def test_without_the_limiter_resources_mean_nothing(rated: Callable[..., Rated]) -> None:
    server = rated("--rate-limit-resource=R:0", models=("one", "other"))
    with ThreadPoolExecutor(max_workers=2) as threads:
        list(threads.map(server.ask, ("one", "other"), (MEETS, MEETS)))
    assert server.most_at_once("one", "other") == 2


def test_who_dies_holds_nothing_and_its_successor_takes_part(rated: Callable[..., Rated]) -> None:
    server = rated(LIMITED, models=("one", "other"))
    with pytest.raises(InferenceServerException, match="while it executed the request"):
        server.ask("one", DIES)
    server.ask("other")
    server.ask("one")
    server.ask("other")


def test_who_could_never_execute_does_not_load(rated: Callable[..., Rated]) -> None:
    server = rated(LIMITED, "--rate-limit-resource=R:1", "--rate-limit-resource=G:1")
    server.client.load_model("one")
    limited = (
        'Resource count for "R" is limited to 1 which will prevent scheduling of one or more model'
        " instances, the minimum required count is 2"
    )
    with pytest.raises(InferenceServerException) as caught:
        server.client.load_model("both")
    assert f"Invalid argument: {limited};" in caught.value.message()
    (index,) = (
        one for one in server.client.get_model_repository_index().models if one.name == "both"
    )
    assert (index.state, index.reason) == ("UNAVAILABLE", f"Invalid argument: {limited}")
    server.client.load_model("shared")
    with pytest.raises(InferenceServerException, match='"G" is present as both global and'):
        server.client.load_model("at_odds")
    server.client.unload_model("shared")
    wait_until(lambda: _loads(server.client, "at_odds"), what="the other kind, once the first left")
    server.ask("at_odds")


def _loads(client: Any, model: str) -> bool:
    try:
        client.load_model(model)
    except InferenceServerException:
        return False
    return True
