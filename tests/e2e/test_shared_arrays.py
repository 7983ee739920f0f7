"""`pyserver.shared_array`: one copy of large constants for all instances."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from bench.targets.pyserver import Pyserver
from tests.backends.python_models import model
from tests.e2e.telling import tell
from tests.serving import grpc_client, serving
from tests.waiting import wait_until

# Tells how often it was made, by whom it is answered, and where the array lies.
TELLS = """
import fcntl, pyserver, signal
FOLDER = pb_utils.get_model_dir()
def made(self):
    import os
    with open(self.FOLDER + "/made", "a") as file:
        print(os.getpid(), file=file)
    if os.path.exists(self.FOLDER + "/die"):
        os.remove(self.FOLDER + "/die")
        os.kill(os.getpid(), self.signal.SIGKILL)
    if os.path.exists(self.FOLDER + "/fail"):
        os.remove(self.FOLDER + "/fail")
        raise ValueError("there are no weights")
    return np.arange(1_000_000, dtype=np.int32).reshape(1000, 1000)
def initialize(self, args):
    self.array = self.pyserver.shared_array("a", self.made, all_models=ALL)
    self.again = self.pyserver.shared_array("a", self.made, all_models=ALL)
def execute(self, requests):
    import os
    address = self.array.ctypes.data
    for line in open("/proc/self/maps"):
        span, rights, _, _, inode, *name = line.split()
        first, last = (int(one, 16) for one in span.split("-"))
        if first <= address < last:
            break
    told = {"pid": os.getpid(), "sum": int(self.array.sum()), "inode": inode, "rights": rights,
            "name": name[0], "same": self.array is self.again,
            "writeable": self.array.flags.writeable, "shape": self.array.shape}
    return [answer(np.array([json.dumps(told)], dtype=object)) for _ in requests]
"""
THREE = "instance_group { kind: KIND_CPU count: 3 }\n"


def make_model(folder: Path, config: str = THREE, everywhere: bool = False) -> Path:
    return model(folder, TELLS.replace("ALL", str(everywhere)), kind="STRING", config=config)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    make_model(folder / "models" / "three")
    for name in ("dies", "fails"):
        made = make_model(folder / "models" / name)
        (made / "1" / name.removesuffix("s")).touch()
    for name in ("left", "right"):
        make_model(folder / "models" / name, everywhere=True, config="")
    large = "import pyserver\nx = pyserver.shared_array('x', lambda: np.zeros(9_000_000, np.uint8))"
    objects = "import pyserver\nx = pyserver.shared_array('x', lambda: np.array([None, {}]))"
    for name, text in {"large": large, "objects": objects}.items():
        model(folder / "models" / name, f"{text}\ndef execute(self, requests):\n    pass")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Pyserver]:
    with serving(
        folder / "server.log",
        folder / "models",
        "--model-control-mode=explicit",
        "--backend-config=python,shared-array-byte-size=10000000",
    ) as running:
        yield running


@pytest.fixture
def client(server: Pyserver) -> Iterator[Any]:
    with grpc_client(server) as made:
        yield made


def tell_all(client: Any, name: str, count: int) -> dict[int, dict[str, Any]]:
    told: dict[int, dict[str, Any]] = {}

    def ask() -> bool:  # at once: else the first instance answers them all
        with ThreadPoolExecutor(4 * count) as pool:
            for one in pool.map(lambda _: tell(client, name), range(4 * count)):
                told[one["pid"]] = one
        return len(told) == count

    wait_until(ask, timeout_s=60, what="every instance to have answered")
    return told


def makers(folder: Path, name: str) -> list[str]:
    return (folder / "models" / name / "1" / "made").read_text().split()


def test_three_instances_share_the_pages_that_one_has_made(client: Any, folder: Path) -> None:
    client.load_model("three")
    told = tell_all(client, "three", 3)
    assert len(makers(folder, "three")) == 1
    assert len({one["inode"] for one in told.values()}) == 1
    for one in told.values():
        assert one["sum"] == sum(range(1_000_000)) and one["shape"] == [1000, 1000]
        assert one["rights"] == "r--s" and not one["writeable"] and one["same"]
        assert one["name"] == "/memfd:pyserver-shared"
    client.unload_model("three")


def test_it_lives_as_long_as_one_instance_does(client: Any, folder: Path) -> None:
    client.load_model("three")
    before = tell_all(client, "three", 3)
    count = len(makers(folder, "three"))
    os.kill(next(iter(before)), signal.SIGKILL)

    def replaced() -> bool:
        try:
            return set(tell_all(client, "three", 3)) != set(before)
        except InferenceServerException:  # the one that had the request died
            return False

    wait_until(replaced, timeout_s=60, what="a new one")
    after = tell_all(client, "three", 3)
    assert {one["inode"] for one in after.values()} == {one["inode"] for one in before.values()}
    assert len(makers(folder, "three")) == count
    client.unload_model("three")
    client.load_model("three")  # a load makes its own
    assert len(makers(folder, "three")) == count + 1
    client.unload_model("three")


def test_a_maker_that_dies_in_the_middle_lets_the_next_one_try(client: Any, folder: Path) -> None:
    with pytest.raises(InferenceServerException):  # a death while it loads is the load's failure
        client.load_model("dies")
    client.load_model("dies")
    assert len(makers(folder, "dies")) >= 2
    assert {one["sum"] for one in tell_all(client, "dies", 3).values()} == {sum(range(1_000_000))}
    client.unload_model("dies")


def test_what_the_maker_raises_is_the_loads_error(client: Any, folder: Path) -> None:
    with pytest.raises(InferenceServerException, match="ValueError: there are no weights"):
        client.load_model("fails")
    client.load_model("fails")
    client.unload_model("fails")


def test_models_share_where_they_say_so(client: Any, folder: Path) -> None:
    client.load_model("left")
    client.load_model("right")
    assert tell(client, "left")["inode"] == tell(client, "right")["inode"]
    assert not (folder / "models" / "right" / "1" / "made").exists()
    client.unload_model("left")
    client.unload_model("right")


@pytest.mark.parametrize(
    ("name", "text"),
    [("objects", "has dtype object; it must be of plain numbers")],
)
def test_what_cannot_be_shared_says_why(client: Any, name: str, text: str) -> None:
    with pytest.raises(InferenceServerException, match=text):
        client.load_model(name)


def test_the_budget_bounds_them_and_is_given_back(client: Any) -> None:
    client.load_model("three")
    with pytest.raises(InferenceServerException) as refused:
        client.load_model("large")
    assert "shared array 'x' of 9000000 bytes does not fit: 4000000 of the 10000000 bytes" in str(
        refused.value
    )
    client.unload_model("three")

    def fits() -> bool:
        try:
            client.load_model("large")
        except InferenceServerException:
            return False
        return True

    wait_until(fits, timeout_s=60, what="the end of the other model's processes")
    client.unload_model("large")


def test_without_a_server_it_is_made_here() -> None:
    import pyserver

    made = pyserver.shared_array("alone", lambda: np.ones(3))
    assert made.tolist() == [1, 1, 1] and not made.flags.writeable
