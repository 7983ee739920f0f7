"""One server with the models that stock clients are tried on, shared by all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.targets.pyserver import Pyserver
from tests.serving import serving

HERE = Path(__file__).parent
REPOSITORIES = (HERE / "models", HERE.parent / "oracle" / "models")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    """A server in explicit mode with every model of the two repositories loaded."""
    with serving(
        tmp_path_factory.mktemp("e2e") / "server.log",
        REPOSITORIES[0],
        f"--model-repository={REPOSITORIES[1]}",
        "--model-control-mode=explicit",
        "--load-model=*",
    ) as running:
        yield running


@pytest.fixture(scope="session")
def address(server: Pyserver) -> str:
    assert server.ports is not None
    return f"127.0.0.1:{server.ports.http}"
