"""--model-control-mode=poll: models follow the repository while the server serves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as client
from tritonclient.utils import InferenceServerException

from bench.targets.pyserver import Pyserver
from tests.serving import serving
from tests.waiting import wait_until

# Answers with the number that its file holds.
NUMBERED = """
import numpy as np
import triton_python_backend_utils as pb_utils

NUMBER = {number}


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({{"name": "X", "data_type": "TYPE_INT32", "dims": [1]}})
        config.add_output({{"name": "Y", "data_type": "TYPE_INT32", "dims": [1]}})
        config.set_max_batch_size(0)
        return config

    def execute(self, requests):
        value = np.array([NUMBER], np.int32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", value)]) for _ in requests]
"""
HANGS_AT_LOAD = """
import time

class TritonPythonModel:
    def initialize(self, args):
        time.sleep(600)

    def execute(self, requests):
        return []
"""
STEP = """
platform: "ensemble"
input [ { name: "X", data_type: TYPE_INT32, dims: [ 1 ] } ]
output [ { name: "Z", data_type: TYPE_INT32, dims: [ 1 ] } ]
ensemble_scheduling { step [ { model_name: "later", model_version: -1
  input_map { key: "X", value: "X" } output_map { key: "Y", value: "Z" } } ] }
"""


def put(repository: Path, name: str, text: str, version: int = 1) -> Path:
    folder = repository / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(text)
    return repository / name


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    put(tmp_path / "models", "steady", NUMBERED.format(number=1))
    return tmp_path / "models"


# By what the kernel tells; and by looking alone, where it does not follow (a link to elsewhere).
@pytest.fixture(params=["told", "looking"])
def server(request: pytest.FixtureRequest, tmp_path: Path, repository: Path) -> Iterator[Pyserver]:
    seconds = 3600
    served = repository
    if request.param == "looking":
        served, seconds = tmp_path / "link", 1
        served.mkdir()
        for model in repository.iterdir():
            (served / model.name).symlink_to(model)
    with serving(
        tmp_path / "server.log",
        served,
        "--model-control-mode=poll",
        f"--repository-poll-secs={seconds}",
        "--exit-on-error=false",
    ) as running:
        yield running


@pytest.fixture
def asking(server: Pyserver) -> Iterator[client.InferenceServerClient]:
    assert server.ports is not None
    with client.InferenceServerClient(f"127.0.0.1:{server.ports.http}", concurrency=2) as made:
        yield made


def number(asking: client.InferenceServerClient, model: str, output: str = "Y") -> int | str:
    given = client.InferInput("X", [1], "INT32")
    given.set_data_from_numpy(np.zeros(1, np.int32))
    try:
        return int(asking.infer(model, [given]).as_numpy(output)[0])
    except InferenceServerException as error:
        return str(error.message())


def served(asking: client.InferenceServerClient, model: str, value: int, output: str = "Y") -> None:
    wait_until(
        lambda: number(asking, model, output) == value,
        timeout_s=30,
        what=f"{model} answering {value}",
    )


def test_a_changed_model_is_swapped_in(
    repository: Path, asking: client.InferenceServerClient
) -> None:
    served(asking, "steady", 1)
    put(repository, "steady", NUMBERED.format(number=22))
    served(asking, "steady", 22)
    put(repository, "steady", NUMBERED.format(number=3), version=2)  # the newest one is served
    served(asking, "steady", 3)
    shutil.rmtree(repository / "steady" / "2")
    served(asking, "steady", 22)
    with pytest.raises(InferenceServerException, match="not allowed if polling is enabled"):
        asking.load_model("steady")


@pytest.mark.parametrize("server", ["told"], indirect=True)
class TestWithTheKernelsHelp:
    def test_models_come_and_go(
        self, repository: Path, asking: client.InferenceServerClient
    ) -> None:
        put(repository, "comes", NUMBERED.format(number=5))
        served(asking, "comes", 5)
        shutil.rmtree(repository / "comes")
        wait_until(lambda: not asking.is_model_ready("comes"), timeout_s=30, what="its end")
        assert number(asking, "steady") == 1

    def test_a_broken_change_leaves_the_last_good_one_serving_until_it_is_mended(
        self, tmp_path: Path, repository: Path, asking: client.InferenceServerClient
    ) -> None:
        log = tmp_path / "server.log"
        put(repository, "steady", "this is not Python")
        wait_until(
            lambda: "failed to load 'steady'" in log.read_text(), timeout_s=30, what="the refusal"
        )
        assert number(asking, "steady") == 1
        put(repository, "steady", NUMBERED.format(number=2))
        served(asking, "steady", 2)
        (repository / "steady" / "config.pbtxt").write_text("no_such_field: 1")
        wait_until(lambda: "no_such_field" in log.read_text(), timeout_s=30, what="the refusal")
        assert number(asking, "steady") == 2

    def test_a_model_that_hangs_while_it_loads_holds_up_no_other(
        self, repository: Path, asking: client.InferenceServerClient
    ) -> None:
        put(repository, "hangs", HANGS_AT_LOAD)
        wait_until(
            lambda: any(
                one.get("state") == "LOADING" for one in asking.get_model_repository_index()
            ),
            timeout_s=30,
            what="the load that hangs",
        )
        put(repository, "comes", NUMBERED.format(number=5))
        served(asking, "comes", 5)

    def test_what_is_written_slowly_is_loaded_when_it_is_complete(
        self, tmp_path: Path, repository: Path, asking: client.InferenceServerClient
    ) -> None:
        text = NUMBERED.format(number=7) + "\n" + "# a long tail\n" * 40
        folder = repository / "slow" / "1"
        folder.mkdir(parents=True)
        looks: list[int] = []

        def write_more() -> bool:
            with (folder / "model.py").open("a") as file:
                file.write(text[len(looks) * 32 :][:32])
            looks.append(1)
            return len(looks) * 32 >= len(text)

        wait_until(write_more, timeout_s=60, what="a file that grows", every_s=0.1)
        served(asking, "slow", 7)
        assert "failed to load 'slow'" not in (tmp_path / "server.log").read_text()

    def test_an_ensemble_that_was_there_before_its_step_is_made_when_that_comes(
        self, tmp_path: Path, repository: Path, asking: client.InferenceServerClient
    ) -> None:
        (repository / "whole" / "1").mkdir(parents=True)
        (repository / "whole" / "config.pbtxt").write_text(STEP)
        wait_until(
            lambda: "failed to load 'whole'" in (tmp_path / "server.log").read_text(),
            timeout_s=30,
            what="the refusal",
        )
        put(repository, "later", NUMBERED.format(number=9))
        served(asking, "whole", 9, output="Z")

    def test_a_repository_that_cannot_be_read_changes_nothing(
        self, tmp_path: Path, repository: Path, asking: client.InferenceServerClient
    ) -> None:
        moved = repository.with_name("moved")
        os.rename(repository, moved)
        wait_until(
            lambda: "the models stay as they are" in (tmp_path / "server.log").read_text(),
            timeout_s=30,
            what="the complaint",
        )
        assert number(asking, "steady") == 1
        os.rename(moved, repository)
