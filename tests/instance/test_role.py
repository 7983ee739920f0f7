"""The instance process by itself: what it answers to core, and what does not stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pyserver.control.channel import ControlSocket, pair
from tests.instance.serving import served, tensors, write_model
from tests.waiting import wait_until

CONFIG = 'backend: "identity"\n' + tensors("input", [("INPUT0", "FP32", [-1])])
CONFIG += tensors("output", [("OUTPUT0", "FP32", [-1])])


@pytest.fixture
def process() -> Iterator[tuple[subprocess.Popen[bytes], ControlSocket]]:
    ours, theirs = pair()
    started = subprocess.Popen(
        [sys.executable, "-m", "pyserver.instance", f"--control-fd={theirs.fileno()}"],
        pass_fds=(theirs.fileno(),),
    )
    theirs.close()
    yield started, ours
    started.kill()
    started.wait()
    ours.close()


def test_signals_do_not_stop_it(tmp_path: Path) -> None:
    with served(write_model(tmp_path / "m", CONFIG)) as one:
        given = {"INPUT0": np.ones(3, np.float32)}
        for number in (signal.SIGTERM, signal.SIGINT):
            one.process.send_signal(number)
            assert not one.infer(given).failed


def test_it_carries_its_models_name(tmp_path: Path) -> None:
    with served(write_model(tmp_path / "a_model", CONFIG)) as one:
        assert Path(f"/proc/{one.process.pid}/comm").read_text() == "ps-a_model\n"


def test_it_gives_back_every_descriptor_and_region(tmp_path: Path) -> None:
    with served(write_model(tmp_path / "m", CONFIG)) as one:
        fds = Path(f"/proc/{one.process.pid}/fd")
        before = len(list(fds.iterdir()))
        memfd = os.memfd_create("test-region", os.MFD_ALLOW_SEALING)
        os.ftruncate(memfd, 4096)
        _seal(memfd)
        for peer in range(100, 120):
            one.introduce(peer, memfd)
        one.control.send({"op": "retire", "peer": 100})
        for peer in range(101, 120):
            one.control.send({"op": "retire", "peer": peer})
        maps = Path(f"/proc/{one.process.pid}/maps")
        wait_until(lambda: "test-region" not in maps.read_text(), what="the regions to be unmapped")
        os.close(memfd)
        assert len(list(fds.iterdir())) == before


def test_core_is_told_what_cannot_be(
    process: tuple[subprocess.Popen[bytes], ControlSocket], tmp_path: Path
) -> None:
    _, control = process
    control.send({"op": "load", "config": "{}"})
    answer, _ = control.receive()
    assert answer["op"] == "failed" and answer["code"] == 1
    model = {
        "name": "m",
        "version": 1,
        "backend": "nothing_like_it",
        "model_dir": str(tmp_path),
        "version_dir": str(tmp_path / "1"),
        "config": "{}",
    }
    control.send({"op": "prepare", "model": model})
    answer, _ = control.receive()
    assert answer["op"] == "failed" and "nothing_like_it" in answer["message"]


def test_it_stops_before_it_has_a_model(
    process: tuple[subprocess.Popen[bytes], ControlSocket],
) -> None:
    started, control = process
    control.send({"op": "stop"})
    assert started.wait(10) == 0


def _seal(fd: int) -> None:
    import fcntl

    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
