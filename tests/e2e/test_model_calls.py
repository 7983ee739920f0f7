"""Models that ask something of their server: loads, readiness, and what they count."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from bench.targets.pyserver import Pyserver
from tests.backends.python_models import model
from tests.serving import counters, grpc_client, serving
from tests.waiting import wait_until

# Answers its input: what it is asked to do comes as JSON text, and its outcome goes back.
CALLER = """
def initialize(self, args):
    self.args = args
    wanted = json.loads(args["model_config"])["parameters"].get("loads")
    for name in wanted["string_value"].split() if wanted else ():
        pb_utils.load_model(name)
def execute(self, requests):
    what, *given = json.loads(get(requests[0]).as_numpy()[0])
    try:
        if what == "files":
            name, config, files = given
            files = {key: value.encode() for key, value in files.items()}
            told = pb_utils.load_model(model_name=name, config=config, files=files)
        else:
            told = getattr(pb_utils, what)(*given)
    except pb_utils.TritonModelException as error:
        told = f"error: {error}"
    return [answer(np.array([json.dumps(told)], dtype=object))]
def finalize(self):
    try:
        pb_utils.load_model("plain")
    except pb_utils.TritonModelException as error:
        print("in finalize:", error)
"""
PLAIN = "def execute(self, requests): return [answer(get(requests[0]).as_numpy())]"
COUNTS = """
def initialize(self, args):
    self.family = pb_utils.MetricFamily("calls", "how many", pb_utils.MetricFamily.COUNTER)
    self.calls = self.family.Metric({"of": "mine"})
def execute(self, requests):
    self.calls.increment(len(requests))
    return [answer(np.array([str(self.calls.value())], dtype=object)) for one in requests]
def finalize(self):
    self.calls.increment(100)
    print("counted to the end")
"""
READY = """
def initialize(self, args):
    self.word, self.asked = "yes", 0
    self.go, self.told = threading.Event(), threading.Event()
{is_ready}
    self.asked += 1
    if self.word == "raise":
        raise RuntimeError("out of order")
    if self.word == "busy":
        self.go.set()
    if self.word == "hang":
        self.told.wait()
    return {{"yes": True, "no": False, "number": 1}}.get(self.word, True)
def execute(self, requests):
    self.word = get(requests[0]).as_numpy()[0].decode()
    if self.word == "go":
        self.told.set()
    if self.word == "busy":
        self.go.wait()
        self.go.clear()
    return [answer(np.array([str(self.asked)], dtype=object))]
"""
ENSEMBLE = """
platform: "ensemble"
input [ { name: "X" data_type: TYPE_STRING dims: [ -1 ] } ]
output [ { name: "Y" data_type: TYPE_STRING dims: [ -1 ] } ]
ensemble_scheduling { step [ { model_name: "caller" model_version: -1
  input_map { key: "IN" value: "X" } output_map { key: "OUT" value: "Y" } } ] }
"""


def loads(*names: str) -> str:
    return f'parameters {{ key: "loads" value {{ string_value: "{" ".join(names)}" }} }}\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calls")
    for name, config in {
        "caller": "",
        "loads_plain": loads("plain"),
        "loads_chain": loads("loads_plain", "plain"),
        "loads_itself": loads("loads_itself"),
        "circle_a": loads("circle_b"),
        "circle_b": loads("circle_a"),
        "loads_nothing": loads("there_is_no_such"),
    }.items():
        model(folder / "models" / name, CALLER, kind="STRING", config=config)
    model(folder / "models" / "plain", PLAIN, kind="STRING")
    model(folder / "models" / "counts", COUNTS, kind="STRING")
    for name, head in {"ready": "def", "ready_async": "async def"}.items():
        code = READY.format(is_ready=f"{head} is_ready(self):")
        model(folder / "models" / name, code, kind="STRING")
    (folder / "models" / "ensemble" / "1").mkdir(parents=True)
    (folder / "models" / "ensemble" / "config.pbtxt").write_text(ENSEMBLE)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Pyserver]:
    with serving(
        folder / "server.log",
        folder / "models",
        "--model-control-mode=explicit",
        "--model-load-thread-count=1",
        "--load-model=caller",
        "--load-model=ready",
        "--load-model=ready_async",
    ) as running:
        yield running


@pytest.fixture
def client(server: Pyserver) -> Iterator[Any]:
    with grpc_client(server) as made:
        yield made


def infer(client: Any, name: str, text: str, tensors: tuple[str, str] = ("IN", "OUT")) -> str:
    given = triton.InferInput(tensors[0], [1], "BYTES")
    given.set_data_from_numpy(np.array([text.encode()], dtype=object))
    return client.infer(name, [given]).as_numpy(tensors[1])[0].decode()


def call(client: Any, *what: Any, name: str = "caller") -> Any:
    return json.loads(infer(client, name, json.dumps(what)))


def test_a_model_loads_and_unloads_another(client: Any) -> None:
    assert call(client, "is_model_ready", "plain") is False
    assert call(client, "load_model", "plain") is None
    assert call(client, "is_model_ready", "plain") is True
    assert call(client, "is_model_ready", "plain", "1") is True
    assert call(client, "is_model_ready", "plain", "7") is False
    assert infer(client, "plain", "x") == "x"
    assert call(client, "unload_model", "plain") is None
    assert call(client, "is_model_ready", "plain") is False


def test_with_a_config_and_files_of_its_own(client: Any, folder: Path) -> None:
    code = (folder / "models" / "plain" / "1" / "model.py").read_text()
    config = (
        '{"backend": "python", "input": [{"name": "IN", "data_type": "TYPE_STRING", "dims": [-1]}],'
        ' "output": [{"name": "OUT", "data_type": "TYPE_STRING", "dims": [-1]}]}'
    )
    files = {"file:1/model.py": code + "\n#" + "x" * 200_000}
    assert call(client, "files", "made_up", config, files) is None
    assert infer(client, "made_up", "x") == "x"
    assert call(client, "unload_model", "made_up") is None
    assert call(client, "files", "made_up", "", files) == (
        f"error: Failed to load model: {SAYS}Load parameter 'config' must be specified for model"
        " file override"
    )
    text = call(client, "files", "made_up", config, {"1/model.py": code})
    assert text == f"error: Failed to load model: {SAYS}unrecognized load parameter '1/model.py'."


SAYS = "Failed to process the request for model 'caller_0', message: "


def test_refusals(client: Any) -> None:
    assert call(client, "load_model", "there_is_no_such") == (
        f"error: Failed to load model: {SAYS}failed to load 'there_is_no_such', failed to poll from"
        " model repository"
    )
    said = (
        f"error: Failed to check model readiness: {SAYS}failed to get model version from specified"
    )
    tail = "version should be an integral value > 0"
    assert (
        call(client, "is_model_ready", "plain", "x")
        == f"{said} version string 'x' (details: stol), {tail}"
    )
    assert call(client, "is_model_ready", "plain", "-2") == f"{said} version string '-2', {tail}"


@pytest.mark.parametrize("name", ["loads_plain", "loads_chain"])
def test_loads_within_initialize_even_with_one_load_thread(client: Any, name: str) -> None:
    client.load_model(name)
    assert client.is_model_ready(name) and client.is_model_ready("plain")
    for one in (name, "plain", "loads_plain"):
        client.unload_model(one)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("loads_itself", "the model asks for its own load while it is loaded"),
        ("circle_a", "model 'circle_b' asks for it while its own load is waited for by 'circle_a'"),
        ("loads_nothing", "message: failed to load 'there_is_no_such'"),
    ],
)
def test_loads_that_would_wait_for_ever_are_refused(client: Any, name: str, text: str) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.load_model(name)
    assert text in str(refused.value)
    assert not client.is_model_ready(name)


def test_a_model_reloads_itself_and_unloads_itself(client: Any, folder: Path) -> None:
    path = folder / "models" / "caller" / "config.pbtxt"
    path.write_text(path.read_text() + "\n# changed\n")
    assert call(client, "load_model", "caller") is None
    assert call(client, "unload_model", "caller") is None
    assert not client.is_model_ready("caller")
    client.load_model("caller")


def test_a_step_unloads_its_own_ensembles_models(client: Any) -> None:
    client.load_model("ensemble")
    told = infer(client, "ensemble", json.dumps(["unload_model", "caller"]), ("X", "Y"))
    assert json.loads(told) is None
    wait_until(lambda: not client.is_model_ready("caller"), what="the unload")
    client.load_model("caller")
    client.unload_model("ensemble")


def test_nobody_answers_in_finalize(client: Any, server: Pyserver) -> None:
    client.unload_model("caller")
    text = "in finalize: Failed to load model: Cannot communicate with parent service"
    wait_until(lambda: text in server.log_tail(100_000), what=text)
    client.load_model("caller")


@pytest.mark.parametrize("name", ["ready", "ready_async"])
def test_a_model_says_itself_whether_it_is_ready(client: Any, name: str) -> None:
    assert client.is_model_ready(name)
    for word in ("no", "raise", "number"):
        infer(client, name, word)
        assert not client.is_model_ready(name), word
    infer(client, name, "yes")
    assert client.is_model_ready(name)
    assert call(client, "is_model_ready", name) is True


def test_it_is_asked_while_it_executes(client: Any) -> None:
    """The batch ends when the hook has been called, and not before."""
    busy = threading.Thread(target=infer, args=(client, "ready", "busy"))
    busy.start()
    wait_until(lambda: client.is_model_ready("ready") and not busy.is_alive(), what="the batch")
    busy.join()


def test_a_hook_that_hangs_holds_nobody_up(client: Any) -> None:
    infer(client, "ready", "hang")
    answers: list[bool] = []
    asking = threading.Thread(target=lambda: answers.append(client.is_model_ready("ready")))
    asking.start()
    assert infer(client, "caller", json.dumps(["is_model_ready", "plain"])) == "false"
    assert int(infer(client, "ready", "hang")) >= 1  # batches go on
    asking.join()
    assert answers == [False]
    assert not client.is_model_ready("ready")  # at once: the question is still open
    infer(client, "ready", "go")
    wait_until(lambda: client.is_model_ready("ready"), what="the hook to answer again")


def metrics(server: Pyserver) -> dict[str, Any]:
    return counters(server)["custom_metrics"]


def test_what_models_count_reaches_core(client: Any, server: Pyserver) -> None:
    client.load_model("counts")
    assert [infer(client, "counts", "") for _ in range(3)] == ["1.0", "2.0", "3.0"]
    wait_until(lambda: "counts" in metrics(server), what="the first report")

    def value() -> float:
        (family,) = metrics(server)["counts"]
        assert (family["name"], family["help"], family["kind"]) == ("calls", "how many", "counter")
        (series,) = family["series"]
        assert series["labels"] == {"of": "mine"}
        return series["value"]

    wait_until(lambda: value() == 3, what="the count")
    client.unload_model("counts")
    wait_until(lambda: "counts" not in metrics(server), what="a model's metrics to go with it")


def test_only_in_explicit_mode(folder: Path, tmp_path: Path) -> None:
    model(tmp_path / "models" / "caller", CALLER, kind="STRING")
    with serving(tmp_path / "server.log", tmp_path / "models") as server:
        assert server.ports is not None
        with triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
            text = "explicit model load / unload is not allowed if polling is enabled"
            assert call(client, "load_model", "x") == f"error: Failed to load model: {SAYS}{text}"
            assert (
                call(client, "unload_model", "x") == f"error: Failed to unload model: {SAYS}{text}"
            )
            assert call(client, "is_model_ready", "caller") is True
