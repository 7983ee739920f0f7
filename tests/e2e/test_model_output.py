"""What models print, and what they say through the Logger, in the server's log."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from bench.targets.pyserver import Pyserver
from tests.backends.python_models import model
from tests.serving import serving
from tests.waiting import wait_until

SPEAKS = """
def initialize(self, args):
    print("from initialize")
def execute(self, requests):
    import ctypes, os, subprocess, sys, warnings
    word = get(requests[0]).as_numpy()[0].decode()
    if word == "print":
        print("printed", "twice\\nprinted again")
        print("to stderr", file=sys.stderr)
        warnings.warn("a warning of the model's")
        os.write(1, b"written to fd 1\\n")
        ctypes.CDLL(None).puts(b"put by C")
        subprocess.run(["echo", "by a child"])
        print("no end of line", end="", flush=True)
    elif word == "log":
        for name in ("log_info", "log_warn", "log_error", "log_verbose"):
            getattr(pb_utils.Logger, name)("by " + name)
        pb_utils.Logger.log("by log", pb_utils.Logger.WARNING)
    elif word == "flood":
        line = b"f" * 1023 + b"\\n"
        for _ in range(1 << 14):  # a gigabyte
            os.write(1, line * 64)
        print("after the flood")
    elif word == "flood of prints":
        for _ in range(1 << 17):
            print("p" * 1023)
    elif word == "flood of one line":
        for _ in range(1 << 12):
            os.write(1, b"z" * (1 << 16))
    elif word == "flood of log":
        for number in range(50_000):
            pb_utils.Logger.log_info("l" * 1000)
        pb_utils.Logger.log_error("e" * (100 << 20))
    elif word == "die":
        os.write(2, b"its last words\\n")
        os.abort()
    return [answer(np.array([word], dtype=object)) for one in requests]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    folder = tmp_path_factory.mktemp("output")
    model(folder / "models" / "speaks", SPEAKS, kind="STRING")
    model(folder / "models" / "other", SPEAKS, kind="STRING")
    with serving(folder / "server.log", folder / "models") as running:
        yield running


def ask(server: Pyserver, word: str, name: str = "speaks") -> None:
    assert server.ports is not None
    with triton.InferenceServerClient(f"127.0.0.1:{server.ports.http}") as client:
        given = triton.InferInput("IN", [1], "BYTES")
        given.set_data_from_numpy(np.array([word.encode()], dtype=object))
        client.infer(name, [given])


def told(server: Pyserver) -> str:
    return server.log_tail(1 << 30)


def test_everything_that_is_printed_names_its_model_and_instance(server: Pyserver) -> None:
    ask(server, "print")
    for text in (
        "from initialize",
        "printed twice",
        "printed again",
        "to stderr",
        "written to fd 1",
        "put by C",
        "by a child",
        "no end of line",
    ):
        line = f"\"instance 'speaks_0' of model 'speaks' version 1: {text}\""
        wait_until(lambda line=line: line in told(server), what=line)
    assert "UserWarning: a warning of the model's" in told(server)


def test_the_logger_writes_with_the_levels_and_the_place_in_the_model(server: Pyserver) -> None:
    ask(server, "log")
    wait_until(lambda: '"by log"' in told(server), what="the last message")
    pids = [str(pid) for pid in server.pids()]
    lines = [line for line in told(server).splitlines() if '"by log' in line]
    assert [line[0] for line in lines] == ["I", "W", "E", "W"]
    for line in lines:
        _, _, pid, role, place = line.split(" ")[:5]
        assert pid in pids and role == "instance" and place.startswith("model.py:"), line
    with triton.InferenceServerClient(f"127.0.0.1:{server.ports.http}") as client:
        client.update_log_settings({"log_verbose_level": 1})
        ask(server, "log")
        wait_until(lambda: '"by log_verbose"' in told(server), what="a verbose message")
        client.update_log_settings({"log_verbose_level": 0})


def resident_kib(server: Pyserver) -> int:
    """Core's."""
    (core,) = [pid for pid in server.pids() if b"pyserver.core" in cmdline(pid)]
    status = Path(f"/proc/{core}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.parametrize("word", ["flood", "flood of prints", "flood of one line", "flood of log"])
def test_a_flood_neither_blocks_nor_fills_the_log(server: Pyserver, word: str) -> None:
    before, resident = len(told(server)), resident_kib(server)
    flood = threading.Thread(target=ask, args=(server, word))
    flood.start()
    answers = 0
    while flood.is_alive() or not answers:
        ask(server, "quiet", "other")
        answers += 1
    flood.join()
    ask(server, "print")  # the line without an end ends
    lost = "of output were dropped|bytes more|characters more"
    wait_until(lambda: re.search(lost, told(server)[before:]), what="what was lost")
    assert len(told(server)) - before < 8 << 20  # of up to a gigabyte
    assert resident_kib(server) - resident < 64 << 10


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_last_words_of_a_crash_are_in_the_log(server: Pyserver) -> None:
    """Also of one that comes in the middle of a flood."""
    with pytest.raises(InferenceServerException):
        ask(server, "die")
    words = 'its last words"'  # behind the rest of a line, where there is one
    wait_until(lambda: words in told(server), what=words)
