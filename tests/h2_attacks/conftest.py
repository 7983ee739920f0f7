"""One server for all attacks, and the bystander who uses it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as grpc_client

from bench.targets.pyserver import Pyserver
from tests.h2_attacks import books
from tests.h2_attacks.attack import MIB, Attacker
from tests.h2_attacks.bystander import Bystander
from tests.h2_attacks.calls import ANY_LENGTH, IDENTITY, SLOW
from tests.h2_attacks.scene import Scene
from tests.serving import serving
from tests.waiting import wait_until

HERE = Path(__file__).parent
REPOSITORIES = (
    HERE / "models",
    HERE.parents[1] / "bench" / "models",
    HERE.parent / "e2e" / "models",
)
MODELS = (IDENTITY, ANY_LENGTH, SLOW)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    """Its times and sizes are short, so that the attacks may be too."""
    with serving(
        tmp_path_factory.mktemp("h2_attacks") / "server.log",
        REPOSITORIES[0],
        *(f"--model-repository={folder}" for folder in REPOSITORIES[1:]),
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in MODELS),
        "--frontend-workers=1",
        "--http-header-timeout-secs=1",
        "--http-body-timeout-secs=1",
        "--http-idle-timeout-secs=2",
        f"--http-max-input-size={16 * MIB}",
        f"--region-byte-size={256 * MIB}",
    ) as running:
        yield running


@pytest.fixture(scope="session")
def scene(server: Pyserver) -> Iterator[Scene]:
    """What is taken once, with the first calls of a kind, is no growth."""
    assert server.ports is not None
    port = server.ports.grpc
    with grpc_client.InferenceServerClient(f"127.0.0.1:{port}") as client:
        wait_until(client.is_server_live, what="the gRPC service")
    with Bystander(port, IDENTITY) as bystander:
        bystander.wait_answers(50)
        with Attacker(port) as attacker:
            assert attacker.wire.call_works()
        pids = server.pids()
        wait_until(lambda: not books.under_way(server), what="a quiet moment")
        # The least of a while: the connections that have just been closed are gone by its end.
        looks = []
        for _ in range(20):
            bystander.wait_answers(1)
            looks.append(books.descriptors(pids))
        held = {pid: min(look[pid] for look in looks) for pid in pids}
        yield Scene(server, port, pids, held, books.resident_bytes(pids), bystander)
