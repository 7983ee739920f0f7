"""The real supervisor over stand-in roles: start, restarts, drains, deadlines."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


class Server:
    def __init__(self, log: Path, mode: str, flags: list[str]) -> None:
        self.log = log
        self._out = self.log.open("wb")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.supervisor.server",
                "--model-repository=/m",
                "--http-address=127.0.0.1",
                "--http-port=0",
                "--grpc-address=127.0.0.1",
                "--grpc-port=0",
                "--frontend-workers=2",
                *flags,
            ],
            cwd=ROOT,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "CORE_MODE": mode},
        )

    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str, count: int = 1) -> list[str]:
        def found() -> list[str] | None:
            hits = re.findall(pattern, self.text())
            return hits if len(hits) >= count else None

        hits = wait_until(found, what=f"{pattern!r} in the log")
        assert hits is not None
        return hits

    def ready(self) -> int:
        return int(self.wait_for(r"Started HTTPService at 127\.0\.0\.1:(\d+)")[0])

    def children(self, role: str) -> list[int]:
        """pids of the role's processes, oldest first."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        found = []
        for pid in listed.split():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"tests.supervisor.roles.{role}".encode() in command:
                found.append(int(pid))
        return found

    def end(self) -> int:
        return self.process.wait(timeout=10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._out.close()


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Server] = []

    def one(mode: str = "", *flags: str) -> Server:
        made.append(Server(tmp_path / f"log{len(made)}", mode, list(flags)))
        return made[-1]

    yield one
    for server in made:
        server.close()


def ask(at: int | Path) -> tuple[int, int]:
    """(index, pid) of the frontend that took the connection to the port or the socket's file."""
    family = socket.AF_UNIX if isinstance(at, Path) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect(str(at) if isinstance(at, Path) else ("127.0.0.1", at))
        index, pid = client.recv(100).split()
        return int(index), int(pid)


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def everyone(server: Server) -> list[int]:
    return [pid for role in ("core", "frontend", "instance") for pid in server.children(role)]


def test_it_starts_serves_and_stops_cleanly(start: Start) -> None:
    server = start()
    port = server.ready()
    assert {ask(port)[0] for _ in range(100)} == {0, 1}
    pids = everyone(server)
    assert len(pids) == 5
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 0
    assert gone(pids)
    text = server.text()
    assert "Signal (15) received." in text
    assert "Waiting for in-flight requests to complete." in text
    assert "| bad   | -       | UNAVAILABLE: why |" in text
    with pytest.raises(ConnectionRefusedError):
        ask(port)


def test_clients_are_refused_until_models_are_loaded(start: Start) -> None:
    server = start("silent")
    wait_until(lambda: len(server.children("frontend")) == 2, what="frontends")
    port = int(server.wait_for(r"HTTP will be at 127\.0\.0\.1:(\d+)")[0])
    with pytest.raises(ConnectionRefusedError):
        ask(port)
    server.process.send_signal(signal.SIGINT)
    assert server.end() == 0
    assert "Started HTTPService" not in server.text()


def test_a_killed_frontend_comes_back_at_the_same_port(start: Start) -> None:
    server = start()
    port = server.ready()
    for count in range(1, 4):
        _, pid = ask(port)
        os.kill(pid, signal.SIGKILL)
        server.wait_for(r"frontend_exited \d signal 9 \(SIGKILL\)", count)
        # Connections that wait in the dead one's socket are served by the new one.
        assert all(ask(port)[1] != pid for _ in range(20))
        wait_until(lambda: len(server.children("frontend")) == 2, what="a new frontend")
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 0


def test_core_hears_how_an_instance_ended(start: Start) -> None:
    server = start()
    server.ready()
    victim = server.children("instance")[0]
    os.kill(victim, signal.SIGKILL)
    (line,) = server.wait_for(r"exited (\{.*\})")
    assert f"'pid': {victim}, 'signal': 9, 'exit_code': None, 'out_of_memory': False" in line
    wait_until(lambda: len(server.children("instance")) == 2, what="a new instance")
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 0


def test_a_killed_core_takes_its_instances_and_frontends_meet_the_next(start: Start) -> None:
    server = start()
    port = server.ready()
    frontends = server.children("frontend")
    for count in range(1, 4):
        old = server.children("core") + server.children("instance")
        os.kill(server.children("core")[0], signal.SIGKILL)
        server.wait_for("core is ready again: 1 of 2 model versions are ready", count)
        wait_until(lambda: gone(old), what="the end of the old core's instances")  # noqa: B023
        assert server.children("frontend") == frontends
        assert ask(port)[1] in frontends
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 0


def test_a_killed_supervisor_takes_everybody_along(start: Start) -> None:
    server = start()
    server.ready()
    pids = everyone(server)
    server.process.kill()
    server.process.wait()
    wait_until(lambda: gone(pids), what="the end of all children")


def test_a_second_signal_stops_at_once(start: Start) -> None:
    server = start("hang", "--exit-timeout-secs=600")
    server.ready()
    pids = everyone(server)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("Waiting for in-flight requests")
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 1
    assert gone(pids)


def test_a_drain_that_takes_too_long_is_cut_off(start: Start) -> None:
    server = start("hang", "--exit-timeout-secs=1")
    server.ready()
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 1
    assert "Exit timeout expired. Exiting immediately." in server.text()


def test_a_process_that_ignores_stop_is_killed(start: Start) -> None:
    server = start("stay", "--exit-timeout-secs=0")
    server.ready()
    pids = everyone(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 1
    assert gone(pids)


def test_a_fatal_error_of_core_ends_the_server(start: Start) -> None:
    server = start("fatal")
    assert server.end() == 1
    assert "failed to load all models" in server.text()


def test_a_core_that_never_starts_is_given_up(start: Start) -> None:
    server = start("crash")
    assert server.end() == 1
    assert "core ended 5 times before the server was ready, at last with exit code 7" in (
        server.text()
    )


def test_a_port_in_use_is_named(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = start("", f"--http-port={port}")
        assert server.end() == 1
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in server.text()


def test_a_socket_file_serves_until_the_end_and_then_is_gone(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    server = start("", f"--http-address=unix:{path}", "--http-port=1")
    server.wait_for(f'Started HTTPService at unix:{path}"')
    server.wait_for(rf"\| address\[http\] +\| unix:{path} +\|")
    for count in range(1, 4):
        _, pid = ask(path)
        os.kill(pid, signal.SIGKILL)
        server.wait_for(r"frontend_exited \d signal 9 \(SIGKILL\)", count)
        assert all(ask(path)[1] != pid for _ in range(20))
        wait_until(lambda: len(server.children("frontend")) == 2, what="a new frontend")
    assert path.is_socket()
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 0
    assert not path.exists()


def test_a_socket_file_is_not_taken_from_a_server_that_still_loads(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "http.sock"
    first = start("silent", f"--http-address=unix:{path}")
    first.wait_for("HTTP will be at unix:")
    with pytest.raises(ConnectionRefusedError):
        ask(path)
    second = start("", f"--http-address=unix:{path}")
    assert second.end() == 1
    assert f"cannot listen at unix:{path}: the socket is in use" in second.text()
    assert path.is_socket()
    first.process.send_signal(signal.SIGTERM)
    assert first.end() == 0
    assert not path.exists()


def test_a_socket_file_goes_when_the_start_fails(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    server = start("fatal", f"--http-address=unix:{path}")
    assert server.end() == 1
    assert not path.exists()


def test_what_a_killed_server_has_left_is_replaced(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    first = start("", f"--http-address=unix:{path}")
    first.wait_for("Started HTTPService at unix:")
    pids = everyone(first)
    first.process.kill()
    first.process.wait()
    wait_until(lambda: gone(pids), what="the end of all children")
    assert path.is_socket()
    second = start("", f"--http-address=unix:{path}")
    second.wait_for("Started HTTPService at unix:")
    ask(path)
    second.process.send_signal(signal.SIGTERM)
    assert second.end() == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("off", "silent", "service"),
    [("http", "HTTP", "GRPCInferenceService"), ("grpc", "GRPC", "HTTPService")],
)
def test_a_protocol_that_is_off_has_no_address(
    start: Start, off: str, silent: str, service: str
) -> None:
    server = start("", f"--allow-{off}=false")
    port = int(server.wait_for(rf"Started {service} at 127\.0\.0\.1:(\d+)")[0])
    ask(port)
    server.wait_for("ready [0-9.]+ s after the start")
    assert server.text().count("Started ") == 1
    assert f"{silent} will be at" not in server.text()
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 0
