"""What a Python model can do to its process: another model never notices, and the broken one comes
back, or is reported.
"""

from __future__ import annotations

import os
import re
import signal
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
from tests.crash.memory_limit import NoCgroups, memory_limit
from tests.serving import serving
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

EXIT_TIMEOUT_S = 4

BREAKS = """
def initialize(self, args):
    if os.path.exists(args["model_repository"] + "/poisoned"):
        os._exit(9)
def execute(self, requests):
    word = get(requests[0]).as_numpy()[0].decode()
    if "hang" in word or word == "spin":
        print("now", word, flush=True)
    if word == "segfault":
        ctypes.string_at(1)
    elif word == "abort":
        os.abort()
    elif word == "exit":
        os._exit(3)
    elif word == "sys.exit":
        sys.exit(4)
    elif word == "memory":
        used = int(open("/proc/self/statm").read().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
        kept = []
        while True:
            kept.append(bytearray(1 << 20))
    elif word == "eat":
        kept = []
        while True:
            kept.append(b"x" * (1 << 20))
    elif word == "hang":
        threading.Event().wait()
    elif word == "spin":
        while True:
            pass
    elif word == "hang with the lock":
        ctypes.PyDLL(None).pause()
    elif word == "close":
        os.closerange(0, 4096)
    elif word == "fork":
        if os.fork() == 0:
            raise RuntimeError("a fork that goes on")
        os.wait()
    elif word == "fork and stay":
        child = os.fork()
        if child == 0:
            signal.pause()
        return [answer(np.array([str(child)], dtype=object))]
    elif word == "spawn and stay":
        child = subprocess.Popen(["sleep", "1000"])
        return [answer(np.array([str(child.pid)], dtype=object))]
    elif word == "threads":
        threading.Thread(target=ctypes.string_at, args=(1,)).start()
    return [answer(np.array([str(os.getpid())], dtype=object))]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("breaks")
    code = "import ctypes, os, resource, signal, subprocess, sys, threading\n"
    for name in ("breaks", "other"):
        path = model(folder / "models" / name, BREAKS, kind="STRING") / "1" / "model.py"
        path.write_text(code + path.read_text())
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Pyserver]:
    with serving(
        folder / "server.log",
        folder / "models",
        "--model-control-mode=explicit",
        "--load-model=*",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
    ) as running:
        yield running


@pytest.fixture
def client(server: Pyserver) -> Iterator[Any]:
    assert server.ports is not None
    with triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as made:
        # Anew each time: too many crashes in short time are a reason to give a model up.
        made.unload_model("breaks")
        made.load_model("breaks")
        yield made


def infer(client: Any, word: str, name: str = "breaks", timeout_s: float = 30) -> str:
    given = triton.InferInput("IN", [1], "BYTES")
    given.set_data_from_numpy(np.array([word.encode()], dtype=object))
    answer = client.infer(name, [given], client_timeout=timeout_s)
    return answer.as_numpy("OUT")[0].decode()


class Asking:
    """A request that is under way."""

    def __init__(self, client: Any, server: Pyserver, word: str, timeout_s: float = 60) -> None:
        self._client = client
        self._came: list[str] = []
        self._thread = threading.Thread(target=self._run, args=(word, timeout_s))
        said = f"version 1: now {word}"
        before = server.log_tail(1000).count(said)
        self._thread.start()
        wait_until(lambda: server.log_tail(1000).count(said) > before, what="its execution")

    def error(self) -> str:
        """What it ended with."""
        self._thread.join(60)
        assert not self._thread.is_alive() and self._came
        return self._came[0]

    def _run(self, word: str, timeout_s: float) -> None:
        try:
            self._came.append(infer(self._client, word, timeout_s=timeout_s))
        except InferenceServerException as error:
            self._came.append(error.message())


class Bystander:
    """Asks the other model all the time: every answer must come, of the same process."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers = 0
        self.pids: set[str] = set()
        self.failures: list[str] = []

    def __enter__(self) -> Bystander:
        self._thread.start()
        wait_until(lambda: self.answers, what="the bystander")
        return self

    def __exit__(self, *_: object) -> None:
        seen = self.answers
        wait_until(lambda: self.answers > seen or self.failures, what="the bystander, still")
        self._over.set()
        self._thread.join()
        assert self.failures == [] and len(self.pids) == 1

    def _run(self) -> None:
        while not self._over.is_set() and not self.failures:
            try:
                self.pids.add(infer(self._client, "pid", "other"))
                self.answers += 1
            except InferenceServerException as error:
                self.failures.append(error.message())


def is_gone(pid: int) -> bool:
    """Ended, whether or not somebody has taken notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def back(client: Any) -> str:
    """The pid of a model that answers again."""

    def answered() -> str:
        try:
            return infer(client, "pid")
        except InferenceServerException:
            return ""

    return wait_until(answered, timeout_s=10, what="the model to answer again")


@pytest.mark.parametrize(
    ("word", "how"),
    [
        ("segfault", "was killed by signal 11 (SIGSEGV)"),
        ("abort", "was killed by signal 6 (SIGABRT)"),
        ("exit", "exited with code 3"),
        ("sys.exit", "exited with code 4"),
    ],
)
def test_ends_of_the_process_are_told_and_made_good(
    client: Any, server: Pyserver, word: str, how: str
) -> None:
    before = back(client)
    with Bystander(client):
        with pytest.raises(InferenceServerException) as failed:
            infer(client, word)
        told = f"instance 'breaks_0' of model 'breaks' version 1 {how}"
        # Python unwinds before it exits: the request is let go before the process is.
        dropped = word == "sys.exit" and "without answering it" in failed.value.message()
        assert told in failed.value.message() or dropped, failed.value.message()
        wait_until(lambda: is_gone(int(before)), what="its end")
        assert back(client) != before
    assert told in server.log_tail(200)


def test_out_of_memory_is_an_error_and_not_the_end(client: Any) -> None:
    before = back(client)
    with Bystander(client):
        with pytest.raises(InferenceServerException) as failed:
            infer(client, "memory")
        assert "MemoryError" in failed.value.message()
        assert back(client) == before


def test_the_kernel_ends_who_takes_too_much_memory(client: Any, server: Pyserver) -> None:
    """A real one: the out-of-memory killer of a cgroup that only this process is in."""
    before = back(client)
    try:
        with Bystander(client), memory_limit(int(before), 64 << 20):
            with pytest.raises(InferenceServerException) as failed:
                infer(client, "eat")
            assert "killed by the system because memory ran out" in failed.value.message()
            wait_until(lambda: is_gone(int(before)), what="its end")
            assert back(client) != before
    except NoCgroups as reason:
        pytest.skip(f"no cgroup can be made here: {reason}")


def test_sigkill_as_the_kernel_sends_it(client: Any, server: Pyserver) -> None:
    """Where no cgroup can be made, this is as near as one comes."""
    before = back(client)
    with Bystander(client):
        asking = Asking(client, server, "hang")
        os.kill(int(before), signal.SIGKILL)
        assert "was killed by signal 9 (SIGKILL)" in asking.error()
        assert back(client) != before


@pytest.mark.parametrize("word", ["hang", "spin", "hang with the lock"])
def test_a_model_that_hangs_can_be_unloaded(client: Any, server: Pyserver, word: str) -> None:
    """Others serve meanwhile; when nobody waits for it any more, its process ends within the time
    that the server gives.
    """
    pid = int(back(client))
    with Bystander(client):
        asking = Asking(client, server, word, timeout_s=2)
        client.unload_model("breaks")
        assert not client.is_model_ready("breaks")
        assert re.search("(?i)deadline", asking.error())
        wait_until(lambda: is_gone(pid), what="its end", timeout_s=3 * EXIT_TIMEOUT_S)
        client.load_model("breaks")
        assert back(client) != str(pid)


def test_a_crash_in_a_thread_of_its_own(client: Any) -> None:
    before = back(client)
    with Bystander(client):
        try:
            infer(client, "threads")  # the answer may be faster than the crash
        except InferenceServerException as error:
            assert "SIGSEGV" in error.message()
        wait_until(lambda: is_gone(int(before)), what="the crash")
        assert back(client) != before


def test_closing_all_descriptors(client: Any) -> None:
    before = back(client)
    with Bystander(client):
        try:
            infer(client, "close")
        except InferenceServerException as error:
            assert "instance 'breaks_0' of model 'breaks' version 1" in error.message()
        wait_until(lambda: is_gone(int(before)), what="the end of a process that is deaf")
        assert back(client) != before


def test_a_fork_that_comes_back_from_execute_answers_nobody(client: Any) -> None:
    before = back(client)
    with Bystander(client):
        for _ in range(5):
            assert infer(client, "fork") == before


@pytest.mark.parametrize("word", ["fork and stay", "spawn and stay"])
def test_what_a_model_has_started_ends_with_it(client: Any, word: str) -> None:
    before = back(client)
    with Bystander(client):
        child = int(infer(client, word))
        assert infer(client, "pid") == before  # it goes on beside it
        assert not is_gone(child)
        os.kill(int(before), signal.SIGKILL)
        wait_until(lambda: is_gone(child), what="the end of what the model has started")
        assert back(client) != before


def test_a_process_that_is_stopped_holds_up_its_own_clients_alone(client: Any) -> None:
    pid = int(back(client))
    with Bystander(client):
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(InferenceServerException, match=r"(?i)deadline"):
            infer(client, "pid", timeout_s=0.5)
        os.kill(pid, signal.SIGCONT)
        assert back(client) == str(pid)


def test_a_process_that_is_stopped_can_be_unloaded_and_replaced(client: Any) -> None:
    pid = int(back(client))
    with Bystander(client):
        os.kill(pid, signal.SIGSTOP)
        client.unload_model("breaks")
        wait_until(lambda: is_gone(pid), what="its end", timeout_s=20)
        client.load_model("breaks")
        assert back(client) != str(pid)


def test_a_model_that_cannot_come_back_is_reported(client: Any, folder: Path) -> None:
    poison = folder / "models" / "breaks" / "poisoned"
    back(client)
    with Bystander(client):
        poison.touch()
        with pytest.raises(InferenceServerException):
            infer(client, "exit")
        wait_until(
            lambda: not client.is_model_ready("breaks"), timeout_s=60, what="the end of its tries"
        )
        index = client.get_model_repository_index(as_json=True)["models"]
        reason = next(one["reason"] for one in index if one["name"] == "breaks")
        assert "exited with code 9" in reason
        poison.unlink()
        client.load_model("breaks")
        back(client)
