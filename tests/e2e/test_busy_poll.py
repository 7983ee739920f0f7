"""Loops that look on before they sleep, and loops that do not: the answers are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc_client

from bench.asking import ports_of
from tests.e2e.conftest import REPOSITORIES
from tests.serving import serving

MODEL = "identity_fp32"
REQUESTS = 300


@pytest.mark.parametrize("busy_poll", ["true", "false"])
def test_requests_one_at_a_time(tmp_path: Path, busy_poll: str) -> None:
    with serving(
        tmp_path / "server.log",
        REPOSITORIES[1],
        "--model-control-mode=explicit",
        f"--load-model={MODEL}",
        f"--busy-poll={busy_poll}",
    ) as server:
        address = f"127.0.0.1:{ports_of(server).grpc}"
        with grpc_client.InferenceServerClient(address) as client:
            tensor = grpc_client.InferInput("INPUT0", [1, 4], "FP32")
            for number in range(REQUESTS):
                data = np.full((1, 4), number, np.float32)
                tensor.set_data_from_numpy(data)
                answer = client.infer(MODEL, [tensor]).as_numpy("OUTPUT0")
                np.testing.assert_array_equal(answer, data)
