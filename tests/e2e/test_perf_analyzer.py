"""Triton's own load generator, perf_analyzer 2.44, unchanged, in each of its ways to ask.

It reads the model's metadata, configuration and statistics before and after, and refuses to report
when what it reads does not fit together. Without it: `python -m bench.loads.perf_analyzer install`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tritonclient.http as client

from bench.loads import perf_analyzer
from bench.targets.pyserver import Pyserver

pytestmark = pytest.mark.skipif(
    not perf_analyzer.available(),
    reason=f"perf_analyzer is not installed: {perf_analyzer.INSTALL}",
)
WINDOW_MS = 200  # three of them make a run


def counts(server: Pyserver, model: str) -> tuple[int, int]:
    """(succeeded, failed) requests of the model."""
    assert server.ports is not None
    with client.InferenceServerClient(f"127.0.0.1:{server.ports.http}") as stock:
        (stats,) = stock.get_inference_statistics(model)["model_stats"]
    figures = stats["inference_stats"]
    return figures["success"]["count"], figures["fail"]["count"]


def analyze(server: Pyserver, model: str, how: str, *extra: str) -> str:
    """A short run that must find no fault; what perf_analyzer printed."""
    assert server.ports is not None
    port = server.ports.http if how == "http" else server.ports.grpc
    succeeded, failed = counts(server, model)
    result = perf_analyzer.run(
        port, model, how=how, concurrency=4, window_ms=WINDOW_MS, extra=extra
    )
    assert result.per_second > 0, result.printed
    assert "rror" not in result.printed and "ailed" not in result.printed, result.printed
    after = counts(server, model)
    assert after[0] > succeeded and after[1] == failed, result.printed
    return result.printed


@pytest.mark.parametrize("how", list(perf_analyzer.HOW))
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_batching_model_is_measured(server: Pyserver, how: str, batch_size: int) -> None:
    printed = analyze(server, "add_sub", how, "-b", str(batch_size))
    assert f"Batch size: {batch_size}" in printed
    assert "Successful request count" in printed  # the server's statistics were understood


@pytest.mark.parametrize("answers", [1, 3])
def test_a_decoupled_model_is_measured(server: Pyserver, tmp_path: Path, answers: int) -> None:
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"data": [{"INPUT0": [answers]}]}))
    printed = analyze(server, "decoupled", "stream", "--input-data", str(data))
    requests, responses = map(float, re.findall(r"Throughput: ([\d.]+) infer/sec", printed))
    assert responses / requests == pytest.approx(answers, rel=0.2), printed


def test_tensors_of_any_length_are_measured(server: Pyserver) -> None:
    analyze(server, "identity_fp32", "stream", "--shape", "INPUT0:1000")
