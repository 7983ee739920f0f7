"""Models that leave again, for want of requests or of memory, and loads that take too long."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.targets.pyserver import Pyserver
from tests.backends.python_models import model
from tests.e2e.on_demand import ENSEMBLE, MODE, PLAIN, Server, counted, loads
from tests.serving import serving
from tests.waiting import wait_until


def test_after_the_keep_alive_a_model_and_its_processes_are_gone(tmp_path: Path) -> None:
    counted(tmp_path, "brief")
    counted(tmp_path, "step")
    model(tmp_path / "models" / "step_too", PLAIN)
    model(tmp_path / "models" / "pinned", PLAIN)
    (tmp_path / "models" / "ensemble" / "1").mkdir(parents=True)
    (tmp_path / "models" / "ensemble" / "config.pbtxt").write_text(ENSEMBLE)
    flags = (MODE, "--on-demand-keep-alive-secs=2", "--load-model=pinned")
    with serving(tmp_path / "server.log", tmp_path / "models", *flags) as running:
        server = Server(running)
        assert server.infer("brief")[0] == 200
        assert server.infer("ensemble")[0] == 200
        pids = server.pids("brief") | server.pids("step")
        assert len(pids) == 2
        wait_until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids),
            timeout_s=30,
            what="the processes to end",
        )
        assert server.index()["brief"] == ("UNAVAILABLE", "unloaded")
        assert server.state("pinned") == "READY"
        books = server.books()["on_demand"]
        assert books["expired"] == 3
        busy = tmp_path / "busy"
        busy.touch()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.infer, "brief")
            wait_until(lambda: server.state("brief") == "READY", what="the load")
            assert server.infer("step_too")[0] == 200  # with as long a keep-alive, and unused
            wait_until(lambda: server.state("step_too") != "READY", timeout_s=30, what="its end")
            assert server.state("brief") == "READY"  # it is in use
            busy.unlink()
            assert answer.result()[0] == 200
        server.grpc.close()


def test_room_is_made_by_the_least_recently_used_that_is_not_in_use(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        counted(tmp_path, name, megabytes=120)
    counted(tmp_path, "huge", megabytes=500)
    flags = (
        MODE,
        f"--on-demand-memory-limit-byte-size={400 << 20}",
        "--on-demand-keep-alive-secs=0",
    )
    with serving(tmp_path / "server.log", tmp_path / "models", *flags) as running:
        server = Server(running)
        for name in ("a", "b", "a"):
            assert server.infer(name)[0] == 200
        assert server.infer("c")[0] == 200  # together they are too large: b was used before a
        wait_until(lambda: server.state("b") == "UNAVAILABLE", what="b to leave")
        assert {server.state(name) for name in ("a", "c")} == {"READY"}
        assert server.infer("b")[0] == 200  # now its size is known: a leaves first
        assert server.state("a") != "READY"
        assert loads(tmp_path, "a") == 1

        status, text = server.infer("huge")
        assert status == 503
        assert f"--on-demand-memory-limit-byte-size={400 << 20}" in text
        assert "model 'huge' alone needs 5" in text
        assert server.infer("huge")[0] == 503
        assert loads(tmp_path, "huge") == 1
        server.grpc.close()


def test_what_is_in_use_is_never_evicted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        counted(tmp_path, name, megabytes=120)
    flags = (
        MODE,
        f"--on-demand-memory-limit-byte-size={260 << 20}",
        "--on-demand-load-timeout-secs=60",
    )
    with serving(tmp_path / "server.log", tmp_path / "models", *flags) as running:
        server = Server(running)
        for name in ("a", "b"):  # their sizes are known then
            assert server.infer(name)[0] == 200
        wait_until(lambda: server.state("a") == "UNAVAILABLE", what="a to leave")
        busy = tmp_path / "busy"
        busy.touch()
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(server.infer, "b")
            wait_until(lambda: server.books()["engine"]["live_batches"] == 1, what="b to be busy")
            second = pool.submit(server.infer, "a")
            wait_until(lambda: server.parked() == 1, what="a request that waits")
            assert server.books()["on_demand"]["loading"] == ["a"]
            assert server.state("b") == "READY"
            assert not first.done()
            busy.unlink()
            assert first.result()[0] == 200
            assert second.result()[0] == 200
        assert loads(tmp_path, "a") == 2
        server.grpc.close()


def test_who_waits_too_long_is_told_and_an_exit_ends_the_wait(tmp_path: Path) -> None:
    counted(tmp_path, "slow")
    hold = tmp_path / "hold"
    hold.touch()
    log = tmp_path / "server.log"
    flags = (MODE, "--on-demand-load-timeout-secs=1", "--exit-timeout-secs=20")
    with serving(log, tmp_path / "models", *flags) as running:
        server = Server(running)
        status, text = server.infer("slow")
        assert status == 503
        assert "was not loaded within 1 s" in text
        server.grpc.close()
    hold.touch()
    server_again = Pyserver(tmp_path / "again.log")
    server_again.start(tmp_path / "models", extra=(MODE, "--exit-timeout-secs=20"))
    wait_until(
        lambda: "s after the start" in (tmp_path / "again.log").read_text(),
        timeout_s=60,
        what="a ready server",
    )
    server = Server(server_again)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.infer, "slow")
        wait_until(lambda: server.parked() == 1, what="a request that waits")
        pids = server_again.pids()
        assert server_again.stop() == 0, server_again.log_tail()
        status, text = answer.result()
    assert (status, json.loads(text)) == (503, {"error": "Server exiting"})
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    server.grpc.close()
