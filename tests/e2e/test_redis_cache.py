"""Answers that two servers share through a real Redis server, and what becomes of requests when it
is not there."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as http

from tests.e2e.test_response_cache import CONFIG, MODEL, ask, times
from tests.serving import serving
from tests.waiting import wait_until

# One program under two names: by the second it is the server. Debian's redis-tools has the first,
# and its redis-server would be a service that starts when it is installed.
PROGRAM = shutil.which("redis-server") or shutil.which("redis-check-rdb")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs: apt-get install redis-tools")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Redis:
    """A server without files, at a port of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._program = folder / "redis-server"
        if not self._program.exists():
            self._program.symlink_to(str(PROGRAM))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        wait_until(lambda: self.answers(b"PING") == b"+PONG", what="Redis")

    def answers(self, command: bytes) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as one:
                one.sendall(command + b"\r\n")
                return one.recv(1000).strip()
        except OSError:
            return b""

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    made = Redis(tmp_path / "redis")
    made.start()
    yield made
    made.stop()


def fill(models: Path, code: str = MODEL) -> Path:
    shutil.rmtree(models, ignore_errors=True)
    (models / "kept" / "1").mkdir(parents=True)
    (models / "kept" / "config.pbtxt").write_text(CONFIG)
    (models / "kept" / "1" / "model.py").write_text(code)
    return models


@contextmanager
def client_of(tmp_path: Path, name: str, redis: Redis, code: str = MODEL) -> Iterator[Any]:
    models = fill(tmp_path / name, code)
    flags = ("--cache-config=redis,host=127.0.0.1", f"--cache-config=redis,port={redis.port}")
    with serving(tmp_path / f"{name}.log", models, *flags) as server:
        assert server.ports is not None
        with http.InferenceServerClient(f"127.0.0.1:{server.ports.http}", concurrency=4) as client:
            yield client


def value(number: int) -> np.ndarray:
    return np.array([[number, number + 1]], np.int32)


def executed(client: Any) -> int:
    return int(client.get_inference_statistics("kept")["model_stats"][0]["inference_count"])


def kept(redis: Redis) -> int:
    return int(redis.answers(b"DBSIZE").removeprefix(b":") or b"-1")


def test_another_server_with_the_same_model_has_the_answers(tmp_path: Path, redis: Redis) -> None:
    with client_of(tmp_path, "one", redis) as one:
        first = [ask(one, "I", value(number)) for number in range(5)]
        wait_until(lambda: kept(redis) == 5, what="five answers in Redis")
        assert times(ask(one, "I", value(4))) == 5, "near at hand, too"
    with client_of(tmp_path, "two", redis) as two:
        for number, answer in enumerate(first):
            again = ask(two, "I", value(number))
            assert times(again) == times(answer)
            np.testing.assert_array_equal(again.as_numpy("DATA"), answer.as_numpy("DATA"))
            assert again.as_numpy("SAW").tolist() == answer.as_numpy("SAW").tolist()
        assert executed(two) == 0
        ask(two, "I", value(99))
        assert executed(two) == 1


def test_another_model_of_the_same_name_has_not(tmp_path: Path, redis: Redis) -> None:
    with client_of(tmp_path, "one", redis) as one:
        ask(one, "I", value(1))
        wait_until(lambda: kept(redis) == 1, what="an answer in Redis")
    with client_of(tmp_path, "two", redis, MODEL + "\n# another\n") as two:
        ask(two, "I", value(1))
        assert executed(two) == 1


def test_what_is_damaged_in_redis_is_executed(tmp_path: Path, redis: Redis) -> None:
    with client_of(tmp_path, "one", redis) as one:
        ask(one, "I", value(1))
        wait_until(lambda: kept(redis) == 1, what="an answer in Redis")
    (key,) = (
        line for line in redis.answers(b"KEYS *").split(b"\r\n") if line.startswith(b"pyserver:")
    )
    assert redis.answers(b"SET " + key + b" nonsense") == b"+OK"
    with client_of(tmp_path, "two", redis) as two:
        assert times(ask(two, "I", value(1))) == 1
        assert executed(two) == 1


def test_requests_do_not_fail_with_redis(tmp_path: Path, redis: Redis) -> None:
    with client_of(tmp_path, "one", redis) as one:
        ask(one, "I", value(1))
        redis.stop()
        for number in range(2, 10):
            ask(one, "I", value(number))
        assert executed(one) == 9
        ask(one, "I", value(1))
        assert executed(one) == 9, "near at hand it is still there"
    assert "requests are executed without it" in (tmp_path / "one.log").read_text()


def test_a_redis_that_is_not_there_is_told_at_the_start(tmp_path: Path, redis: Redis) -> None:
    redis.stop()
    with client_of(tmp_path, "one", redis) as one:
        ask(one, "I", value(1))
        assert executed(one) == 1
    assert "does not answer" in (tmp_path / "one.log").read_text()
