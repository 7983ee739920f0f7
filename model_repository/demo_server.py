"""A pyserver that the demo starts, waits for and stops, and the proof that it leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import tritonclient.http as triton

READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 30.0


class DemoFailed(Exception):
    """Something is not as it should be; the text says what."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descendants(pid: int) -> set[int]:
    """All processes below `pid`."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue  # it ended meanwhile
        for child in children:
            found |= {child} | descendants(child)
    return found


def is_alive(pid: int) -> bool:
    """Zombies are not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class DemoServer:
    """The server of the installed package beside this Python, on a free port of this machine."""

    def __init__(self, repository: Path) -> None:
        self.port = free_port()
        self.url = f"127.0.0.1:{self.port}"
        self._shm_before = set(os.listdir("/dev/shm"))
        command = [
            str(Path(sys.executable).parent / "pyserver"),
            f"--model-repository={repository}",
            "--http-address=127.0.0.1",
            f"--http-port={self.port}",
            "--allow-grpc=false",
            "--allow-metrics=false",
        ]
        print("$", " ".join(command), flush=True)
        self._started_s = time.monotonic()
        self._process = subprocess.Popen(command)

    def wait_until_ready(self) -> float:
        """Seconds from start to ready."""
        with triton.InferenceServerClient(self.url) as client:
            while time.monotonic() - self._started_s < READY_WITHIN_S:
                if self._process.poll() is not None:
                    raise DemoFailed(f"the server ended with exit code {self._process.returncode}")
                if _is_ready(client):
                    return time.monotonic() - self._started_s
                time.sleep(0.02)
        raise DemoFailed(f"the server was not ready within {READY_WITHIN_S:g} s")

    def stop(self) -> None:
        """SIGTERM; afterwards no process and no shared memory may be left. Raises DemoFailed."""
        processes = descendants(self._process.pid)
        began_s = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"the server did not stop within {STOPPED_WITHIN_S:g} s") from None
        took_s = time.monotonic() - began_s
        left = sorted(pid for pid in processes if is_alive(pid))
        shm = sorted(set(os.listdir("/dev/shm")) - self._shm_before)
        if code != 0 or left or shm:
            raise DemoFailed(
                f"the server stopped with exit code {code} and left processes {left} and shared"
                f" memory {shm} behind"
            )
        print(
            f"stopped in {took_s:.2f} s with exit code 0; its {len(processes)} other processes are"
            " gone, /dev/shm is as it was"
        )

    def kill(self) -> None:
        """After a failure."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _is_ready(client: triton.InferenceServerClient) -> bool:
    try:
        return bool(client.is_server_ready())
    except OSError:
        return False  # it does not listen yet
