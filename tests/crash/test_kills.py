"""kill -9 of each kind of process, ten times under load: only what it had in flight fails, with a
reason, in time; service comes back; nothing leaks.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as grpc_client

from bench.targets.pyserver import Pyserver
from tests.crash.load import Load, Outcome
from tests.crash.processes import holdings, processes_by_role
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(240)

KILLS = 10
# The promise, for the median of the kills: the test machine has two cores and runs the clients too,
# so that a single restart may be starved for a while.
BACK_WITHIN_S = 2.0
USUAL_STARVATION = 3.0  # of a process beside the clients, where nothing else runs
ANSWER_WITHIN_S = 2.0
MODELS = ("identity", "python_identity")
ONLY_MODELS = ("--model-control-mode=explicit", *(f"--load-model={name}" for name in MODELS))
REPOSITORY = Path(__file__).parents[2] / "bench" / "models"


@pytest.fixture()
def server(tmp_path: Path) -> Iterator[Pyserver]:
    running = Pyserver(tmp_path / "server.log")
    running.start(REPOSITORY, extra=["--frontend-workers=2", *ONLY_MODELS])
    try:
        running.wait_ready()
        _wait_for_grpc(running)
        yield running
        assert running.running(), f"the server ended:\n{running.log_tail()}"
    finally:
        code = running.stop()
    assert code == 0, running.log_tail()


def _wait_for_grpc(server: Pyserver) -> None:
    """Core starts its gRPC service behind readiness; what that holds is no leak."""
    assert server.ports is not None
    with grpc_client.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
        wait_until(client.is_server_live, what="the gRPC service")


def counters(port: int) -> dict[str, dict[str, int]]:
    """The server's own books: engine's, and each frontend's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/pyserver/counters")
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def kill_one(server: Pyserver, role: str, turn: int) -> int:
    pids = processes_by_role(server.pid)[role]
    victim = pids[turn % len(pids)]
    os.kill(victim, signal.SIGKILL)
    return victim


def complaints(outcomes: list[Outcome], *, connections_may_break: bool) -> list[str]:
    """What no client may see, whoever died."""
    found = []
    for outcome in outcomes:
        took_s = outcome.end_s - outcome.begin_s
        if outcome.wrong:
            found.append(f"a wrong answer from {outcome.model}")
        if took_s > ANSWER_WITHIN_S:
            found.append(f"{outcome.model} answered after {took_s:.2f} s: {outcome.error or 'ok'}")
        if outcome.status == 0 and not connections_may_break:
            found.append(f"a connection broke: {outcome.error}")
        if outcome.status not in (0, 200, 503):
            found.append(f"status {outcome.status}: {outcome.error}")
        if outcome.status == 503 and len(outcome.error) < 10:
            found.append(f"an error without a reason: {outcome.error!r}")
    return found


@pytest.mark.parametrize("role", ["instance", "frontend", "core"])
def test_ten_kills_under_load_cost_only_what_was_in_flight(server: Pyserver, role: str) -> None:
    assert server.ports is not None
    port = server.ports.http
    shape_before = {kind: len(pids) for kind, pids in processes_by_role(server.pid).items()}
    survivors = [
        pid
        for kind, pids in processes_by_role(server.pid).items()
        if kind == "supervisor" or (kind != role and role != "core")
        for pid in pids
    ]
    held_before = {pid: holdings(pid) for pid in survivors}
    back_s = []
    with Load(port, MODELS) as load:
        for model in MODELS:
            wait_until(lambda m=model: load.good_since(0, m), what=f"first answers of {model}")
        for turn in range(KILLS):
            victim = kill_one(server, role, turn)
            killed_s = time.monotonic()
            wait_until(
                lambda v=victim: not os.path.exists(f"/proc/{v}") or _is_zombie(v),
                what="the victim's end",
            )
            for model in MODELS:
                wait_until(
                    lambda since=killed_s, m=model: load.good_since(since, m),
                    timeout_s=BACK_WITHIN_S * 3,
                    what=f"{model} to serve again after kill {turn} of {role}",
                )
            back_s.append(time.monotonic() - killed_s)
            wait_until(
                lambda: (
                    {k: len(p) for k, p in processes_by_role(server.pid).items()} == shape_before
                ),
                what="all processes to be there again",
            )
        allowed_s = BACK_WITHIN_S * max(1.0, _starvation() / USUAL_STARVATION)
    print(f"{role}: back after {', '.join(f'{one:.2f}' for one in sorted(back_s))} s")
    assert statistics.median(back_s) < allowed_s, (allowed_s, back_s)
    assert complaints(load.outcomes, connections_may_break=role == "frontend") == []
    failed = [outcome for outcome in load.outcomes if outcome.status != 200]
    good = len(load.outcomes) - len(failed)
    assert good > 1000
    if role == "instance":
        # Each kill may take at most what one instance was executing: never more than all clients.
        assert len(failed) <= KILLS * load.clients

    _expect_nothing_leaked(port)
    for pid, before in held_before.items():
        wait_until(
            lambda p=pid, b=before: (
                holdings(p).regions <= b.regions and holdings(p).fds <= b.fds + 2
            ),
            what=f"process {pid} to hold no more than before ({before}), not {holdings(pid)}",
        )


def _starvation() -> float:
    """How many seconds a second of CPU time takes a new process at the moment; the median of five.

    A machine that does other work too makes every restart longer, which is not the server's doing.
    """
    found = []
    for _ in range(5):
        began_s, before = time.monotonic(), os.times()
        subprocess.run([sys.executable, "-c", "import asyncio, aiohttp"], check=True)
        after = os.times()
        cpu_s = after.children_user + after.children_system
        cpu_s -= before.children_user + before.children_system
        found.append((time.monotonic() - began_s) / max(cpu_s, 0.01))
    return statistics.median(found)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _expect_nothing_leaked(port: int) -> None:
    def clean() -> bool:
        now = counters(port)
        engine = now["engine"]
        return (
            engine["live_requests"] == 0
            and engine["live_leases"] == 0
            and engine["live_batches"] == 0
            and engine["own_bytes"] == 0
            and all(front["region_live_blocks"] == 0 for front in now["frontends"].values())
        )

    wait_until(clean, what=f"no buffer in use, but {counters(port)}")


def test_killing_the_supervisor_ends_everything(tmp_path: Path) -> None:
    server = Pyserver(tmp_path / "server.log")
    server.start(REPOSITORY, extra=ONLY_MODELS)
    try:
        server.wait_ready()
        everybody = server.pids()
        os.kill(server.pid, signal.SIGKILL)
        wait_until(
            lambda: all(_is_zombie(pid) for pid in everybody),
            timeout_s=2,
            what="the end of all processes of a killed supervisor",
        )
    finally:
        server.stop()
