"""Sequences from end to end: control tensors, slots, refusals, and requests that are run again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from tests.serving import serving

MODELS = Path(__file__).parent / "sequence_models"
BOTH = pytest.mark.parametrize("model", ["direct", "oldest"])
SEQUENCES, STEPS = 24, 12


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with serving(tmp_path_factory.mktemp("sequences") / "server.log", MODELS) as server:
        assert server.ports is not None
        yield triton.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")


def number(value: int, rows: int = 1) -> list[triton.InferInput]:
    tensor = triton.InferInput("INPUT", [rows, 1], "INT32")
    tensor.set_data_from_numpy(np.full((rows, 1), value, np.int32))
    return [tensor]


def step(client: Any, model: str, sequence: int | str, value: int, **flags: Any) -> list[int]:
    """The sum, START, READY, END, the place in the batch, the batch's size and its number."""
    answer = client.infer(model, number(value), sequence_id=sequence, **flags)
    told: list[int] = answer.as_numpy("OUTPUT").reshape(-1).tolist()
    return told


@BOTH
def test_a_model_is_told_where_in_its_sequence_a_request_stands(client: Any, model: str) -> None:
    assert step(client, model, 7, 5, sequence_start=True)[:4] == [5, 1, 1, 0]
    assert step(client, model, 7, 6)[:4] == [11, 0, 1, 0]
    assert step(client, model, 7, 7, sequence_end=True)[:4] == [18, 0, 1, 1]


def test_direct_fills_the_slots_below(client: Any) -> None:
    first = step(client, "direct", 1, 10, sequence_start=True)
    assert first[4:6] == [0, 1]
    second = step(client, "direct", 2, 20, sequence_start=True)
    assert second[0] == 20
    assert second[4:6] == [1, 2], "a null request stands in the first sequence's slot"
    assert step(client, "direct", 1, 1, sequence_end=True)[0] == 11, "which changed nothing"
    assert step(client, "direct", 2, 2, sequence_end=True)[0] == 22


def test_oldest_has_no_gaps(client: Any) -> None:
    step(client, "oldest", 1, 10, sequence_start=True)
    assert step(client, "oldest", 2, 20, sequence_start=True)[4:6] == [0, 1]
    for sequence in (1, 2):
        step(client, "oldest", sequence, 0, sequence_end=True)


@BOTH
def test_many_sequences_at_once_do_not_mix(client: Any, model: str) -> None:
    def one(sequence: int) -> list[int]:
        return [
            step(
                client,
                model,
                100 + sequence,
                sequence * at,
                sequence_start=at == 0,
                sequence_end=at == STEPS - 1,
            )[0]
            for at in range(STEPS)
        ]

    with ThreadPoolExecutor(SEQUENCES) as threads:
        sums = list(threads.map(one, range(SEQUENCES)))
    for sequence, told in enumerate(sums):
        assert told == [sequence * at * (at + 1) // 2 for at in range(STEPS)]


@BOTH
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"sequence_id": 9},
            "inference request for sequence 9 to model '{}' must specify the START flag on the"
            " first request of the sequence",
        ),
        (
            {"sequence_id": 0, "sequence_start": True},
            "inference request to model '{}' must specify a non-zero or non-empty correlation ID",
        ),
        (
            {"sequence_id": 9, "sequence_start": True, "rows": 2},
            "inference request to model '{}' must specify batch-size 1 due to requirements of"
            " sequence batcher",
        ),
    ],
)
def test_refusals_are_tritons(
    client: Any, model: str, arguments: dict[str, Any], text: str
) -> None:
    rows = arguments.get("rows", 1)
    given = {key: value for key, value in arguments.items() if key != "rows"}
    with pytest.raises(InferenceServerException) as refused:
        client.infer(model, number(1, rows), **given)
    assert refused.value.message() == text.format(model)
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_iterative_requests_are_run_until_they_are_answered(client: Any) -> None:
    def one(count: int) -> int:
        answer = client.infer("iterative", number(count), request_id=f"r{count}")
        return int(answer.as_numpy("OUTPUT")[0, 0])

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(one, range(1, 33))) == list(range(1, 33))
