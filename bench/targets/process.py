"""A server under measurement: one process tree that is started, asked whether it is ready, and
stopped.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import cpu
from bench.deployment import Deployment
from bench.workload import Request, Workload


class StartFailed(RuntimeError):
    """The server ended, or was not ready in time; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The three listeners of a Triton-compatible server, all on 127.0.0.1."""

    http: int
    grpc: int
    metrics: int


def free_ports() -> Ports:
    """Three ports that were free a moment ago; held together so that they differ."""
    sockets = [socket.socket() for _ in range(3)]
    try:
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        http_port, grpc_port, metrics_port = (held.getsockname()[1] for held in sockets)
    finally:
        for held in sockets:
            held.close()
    return Ports(http=http_port, grpc=grpc_port, metrics=metrics_port)


class ServerProcess(ABC):
    """What all targets share: the process, its log and its stop. Not safe for use by several
    threads.
    """

    name = "server"
    install = ""  # the command that brings it here
    counts_requests = False  # whether it has KServe's statistics of a model, by gRPC
    ready_path = "/v2/health/ready"  # where GET answers 200 as soon as all models are there
    piped = False  # whether commands go to it by its stdin, and answers come by its stdout

    def __init__(self, log_path: Path) -> None:
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self.ports: Ports | None = None

    @abstractmethod
    def command(self, model_repository: Path, ports: Ports, extra: Sequence[str]) -> list[str]: ...

    @abstractmethod
    def environment(self) -> Mapping[str, str]: ...

    @classmethod
    @abstractmethod
    def installed(cls) -> bool: ...

    @classmethod
    @abstractmethod
    def version(cls) -> str: ...

    def folders(self) -> Sequence[Path]:
        """Where the files of its own are; what it needs of other packages is not among them."""
        return ()

    @abstractmethod
    def lay_out(self, deployment: Deployment, folder: Path) -> tuple[Path, Sequence[str]]:
        """Make what the server is to serve in the empty `folder`; what `start` takes: the path
        and flags of its own.
        """

    @abstractmethod
    def request(self, workload: Workload) -> Request | None:
        """How this server is asked for it; None if it cannot be."""

    def start(
        self, model_repository: Path, ports: Ports | None = None, *, extra: Sequence[str] = ()
    ) -> Ports:
        """Start the server and return its ports at once; `wait_ready` waits for the models."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} was already started")
        self.ports = ports or free_ports()
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(model_repository, self.ports, extra),
                env=dict(self.environment()),
                stdin=subprocess.PIPE if self.piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.piped else log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that `stop` finds what a crashed server left behind
            )
        return self.ports

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def pids(self) -> frozenset[int]:
        """Every process of the server."""
        return cpu.process_tree(self.pid)

    def answers(self, path: str) -> bool:
        """Whether GET `path` answers 200."""
        if self.ports is None:
            return False
        connection = http.client.HTTPConnection("127.0.0.1", self.ports.http, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def ready(self) -> bool:
        return self.answers(self.ready_path)

    def wait_ready(self, timeout_s: float = 60.0, *, path: str | None = None) -> None:
        """Return when the server is ready, or when `path` answers 200, if that is given.

        Raises:
            StartFailed: the process ended, or `timeout_s` passed.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.running():
                raise StartFailed(f"{self.name} ended while starting:\n{self.log_tail()}")
            if self.ready() if path is None else self.answers(path):
                return
            time.sleep(0.05)
        raise StartFailed(f"{self.name} not ready after {timeout_s:.0f} s:\n{self.log_tail()}")

    def log_tail(self, lines: int = 40) -> str:
        if not self._log_path.exists():
            return "(no log)"
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM, then SIGKILL after `timeout_s`; returns the exit code (negative: the signal).

        What is left of the server's session after that is killed too.
        """
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None
        return code
