"""`@pyserver.model`, ours alone: a typed function is a model that needs no config."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.instance.serving import HANDLE, LoadFailed, served, write_model

IMPORTS = """
import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypedDict

import numpy as np
import pyserver
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

Row = Annotated[NDArray[np.float32], pyserver.shape(-1)]
Word = Annotated[NDArray[np.str_], pyserver.shape(1)]
"""


def function(folder: Path, code: str, config: str = "") -> Path:
    return write_model(folder, config, IMPORTS + code)


def row(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32)


RESULTS = {
    "one array": ("Row", '@pyserver.model(outputs="sum")', "a + b", ["sum"]),
    "one array without a name": ("Row", "@pyserver.model", "a + b", ["output"]),
    "a tuple": (
        "tuple[Row, Row]",
        '@pyserver.model(outputs=["sum", "difference"])',
        "(a + b, a - b)",
        ["sum", "difference"],
    ),
    "a NamedTuple": ("Named", "@pyserver.model", "Named(a + b, a - b)", ["sum", "difference"]),
    "a dataclass": ("Data", "@pyserver.model()", "Data(a + b, a - b)", ["sum", "difference"]),
    "a TypedDict": (
        "Typed",
        "@pyserver.model",
        '{"sum": a + b, "difference": a - b}',
        ["sum", "difference"],
    ),
}


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("form", list(RESULTS))
def test_names_datatypes_and_dims_come_from_annotations(
    tmp_path: Path, kind: str, form: str
) -> None:
    result, decorator, expression, names = RESULTS[form]
    code = f"""
class Named(NamedTuple):
    sum: Row
    difference: Row

@dataclass
class Data:
    sum: Row
    difference: Row

class Typed(TypedDict):
    sum: Row
    difference: Row

{decorator}
{kind} add(a: Row, b: Row) -> {result}:
    return {expression}
"""
    with served(function(tmp_path / "m", code)) as one:
        assert [(one.name, one.data_type, list(one.dims)) for one in one.config.input] == [
            ("a", 11, [-1]),
            ("b", 11, [-1]),
        ]
        assert [one.name for one in one.config.output] == names
        assert not one.config.model_transaction_policy.decoupled
        outputs = one.infer({"a": row(1, 2), "b": row(3, 5)}).outputs
        assert {name: outputs[name].tolist() for name in names} == dict(
            zip(names, [[4, 7], [-2, -3]], strict=False)
        )


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("batched", [True, False])
def test_a_batch_is_one_call_or_a_call_for_each_request(
    tmp_path: Path, kind: str, batched: bool
) -> None:
    code = f"""
calls = []
@pyserver.model(max_batch_size=8, batched={batched}, outputs=["rows", "twice"],
                dynamic_batching={{"max_queue_delay_microseconds": 500_000}})
{kind} count(a: Row) -> tuple[Row, Row]:
    rows = np.full((len(a), 1), len(a), np.float32)
    return rows, 2 * a
"""
    with served(function(tmp_path / "m", code)) as one:
        assert one.config.max_batch_size == 8
        assert one.config.dynamic_batching.max_queue_delay_microseconds == 500_000
        arrays = [row(1, 2)[None], np.array([[3, 4], [5, 6]], np.float32), row(7, 8, 9)[None]]
        calls = [
            one.client.submit(HANDLE, {"a": array}, rows=len(array), signature=array.shape[1])
            for array in arrays
        ]
        told = [one.client.wait(call)[0].outputs for call in calls]
        for outputs, array in zip(told, arrays, strict=True):
            np.testing.assert_array_equal(outputs["twice"], 2 * array)
        rows = [outputs["rows"].ravel().tolist() for outputs in told]
        assert rows == ([[3], [3, 3], [1]] if batched else [[1], [2, 2], [1]])


def test_one_bad_call_harms_only_itself(tmp_path: Path) -> None:
    code = """
@pyserver.model(max_batch_size=8, dynamic_batching={"max_queue_delay_microseconds": 500_000})
def check(a: Row) -> Row:
    if a[0, 0] < 0:
        raise ValueError("negative")
    return a
"""
    with served(function(tmp_path / "m", code)) as one:
        calls = [one.submit({"a": row(value)[None]}) for value in (1, -1, 2)]
        bad = [one.client.wait(call)[0] for call in calls]
        assert [response.failed for response in bad] == [False, True, False]
        assert "for model 'm_0', message: ValueError: negative\n\nAt:\n" in bad[1].message


@pytest.mark.parametrize(("kind", "result"), [("def", "Iterator"), ("async def", "AsyncIterator")])
def test_generators_stream(tmp_path: Path, kind: str, result: str) -> None:
    code = f"""
@pyserver.model(outputs="word")
{kind} words(text: Word) -> {result}[Word]:
    for word in text[0].decode().split():
        yield np.array([word])
"""
    with served(function(tmp_path / "m", code)) as one:
        assert one.config.model_transaction_policy.decoupled
        responses = one.client.wait(one.submit({"text": np.array([b"to be or"], dtype=object)}))
        assert [r.outputs["word"][0] for r in responses if r.outputs] == [b"to", b"be", b"or"]


def test_optional_inputs_and_the_request_itself(tmp_path: Path) -> None:
    code = """
@pyserver.model
def scale(a: Row, by: Row | None = None, *, request: pb_utils.InferenceRequest) -> Row:
    return a * (len(request.request_id()) if by is None else by)
"""
    with served(function(tmp_path / "m", code)) as one:
        assert [one.optional for one in one.config.input] == [False, True]
        assert one.infer({"a": row(2)}, request_id="four").outputs["output"].tolist() == [8]
        assert one.infer({"a": row(2), "by": row(3)}).outputs["output"].tolist() == [6]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("a.astype(np.float64)", "returned float64 of shape [1] for output 'output'; wanted is"),
        ("a[None]", "of shape [1, 1] for output 'output'; wanted is float32 of shape [-1]"),
        ("None", "output"),
        ("'text'", "could not convert string to float"),
    ],
)
def test_a_result_that_is_no_good_says_what_was_wanted(
    tmp_path: Path, expression: str, text: str
) -> None:
    code = f"@pyserver.model\ndef f(a: Row) -> Row:\n    return {expression}\n"
    with served(function(tmp_path / "m", code)) as one:
        response = one.infer({"a": row(1)})
        assert response.failed and text in response.message


def test_a_batched_result_needs_the_rows_of_the_batch(tmp_path: Path) -> None:
    code = """
@pyserver.model(max_batch_size=4, batched=True)
def f(a: Row) -> Row:
    return a[:0]
"""
    with served(function(tmp_path / "m", code)) as one:
        assert (
            "returned 0 rows for output 'output'; the batch has 1"
            in one.infer({"a": row(1)[None]}).message
        )


def test_a_config_goes_before_and_must_not_contradict(tmp_path: Path) -> None:
    code = """
@pyserver.model(max_batch_size=4, dynamic_batching=True, instances=3)
def f(a: Row) -> Row:
    return a
"""
    config = "dynamic_batching { max_queue_delay_microseconds: 9 }\ninstance_group { count: 1 }\n"
    with served(function(tmp_path / "m", code, 'backend: "python"\n' + config)) as one:
        assert one.config.dynamic_batching.max_queue_delay_microseconds == 9
        assert [group.count for group in one.config.instance_group] == [1]
        assert one.config.max_batch_size == 4
    with served(function(tmp_path / "n", code)) as one:
        assert [group.count for group in one.config.instance_group] == [3]
    other = 'backend: "python"\ninput { name: "b" data_type: TYPE_FP32 dims: [ 1 ] }\n'
    with pytest.raises(LoadFailed, match="has input 'b'; its function has a"):
        with served(function(tmp_path / "o", code, other)):
            pass


WRONG = [
    (
        "def f(a, b: Row) -> Row: ...",
        "f: parameter 'a' is not annotated; wanted is Annotated[NDArr",
    ),
    (
        "def f(a: int) -> Row: ...",
        "f: parameter 'a' is annotated int; wanted is Annotated[NDArray[",
    ),
    ("def f(a: NDArray[np.float32]) -> Row: ...", "wanted is Annotated["),
    ("def f(a: Annotated[NDArray[np.complex64], pyserver.shape(1)]) -> Row: ...", "no tensor can"),
    ("def f(a: Annotated[NDArray[Any], pyserver.shape(1)]) -> Row: ...", "no tensor can hold"),
    ("def f(a: Row): ...", "the result is not annotated"),
    ("def f(a: Row) -> None: ...", "the result is annotated"),
    ("def f(*a: Row) -> Row: ...", "parameter '*a' has no names"),
    ("def f(a: Row, /) -> Row: ...", "parameter 'a' is positional-only"),
    ("def f() -> Row: ...", "it has no parameter that is an input"),
    ("def f(a: Row | None) -> Row: ...", "parameter 'a' may be None: it needs a default"),
    ("def f(a: Row) -> tuple[Row, Row]: ...", "the result has 2 parts, and outputs= names 0"),
    ("def f(a: Nothing) -> Row: ...", "annotations cannot be read: name 'Nothing' is not defined"),
    ("def f(a: Row) -> Row: yield a", "a generator's result is annotated"),
]


@pytest.mark.parametrize(("code", "text"), WRONG, ids=[code for code, _ in WRONG])
def test_wrong_annotations_are_refused_with_file_and_line(
    tmp_path: Path, code: str, text: str
) -> None:
    code = code.replace("Nothing", "'Nothing'")
    path = function(tmp_path / "m", f"@pyserver.model\n{code}\n")
    with pytest.raises(LoadFailed) as refused, served(path):
        pass
    assert text in str(refused.value)
    assert re.search(r"/m/1/model\.py:\d+: f: ", str(refused.value))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("max_batch_size=-1", "max_batch_size must be a number of at least 0, not -1"),
        ("batched=True", "batched=True needs max_batch_size"),
        ("max_batch_size=2, dynamic_batching={'delay': 1}", "not 'delay'"),
        ("nonsense=1", "nonsense"),
    ],
)
def test_options_that_are_no_good(tmp_path: Path, options: str, text: str) -> None:
    code = f"@pyserver.model({options})\ndef f(a: Row) -> Row:\n    return a\n"
    with pytest.raises(LoadFailed) as refused, served(function(tmp_path / "m", code)):
        pass
    assert text in str(refused.value) and "model.py(" in str(refused.value)


@pytest.mark.parametrize(
    "more",
    ["g = pyserver.model(lambda a: a)", "class TritonPythonModel:\n    execute = None"],
)
def test_a_file_holds_one_model(tmp_path: Path, more: str) -> None:
    code = f"@pyserver.model\ndef f(a: Row) -> Row:\n    return a\n{more}\n"
    with pytest.raises(LoadFailed, match="a model file holds one model"):
        with served(function(tmp_path / "m", code)):
            pass


def test_the_function_stays_what_it_is() -> None:
    import pyserver

    @pyserver.model
    def f(a: int) -> int:
        return a + 1

    assert f(1) == 2


@pytest.mark.parametrize("dims", [(), (0,), (True,), ("x",)])
def test_shapes_are_checked_at_once(dims: Any) -> None:
    import pyserver

    with pytest.raises(TypeError, match=r"pyserver\.shape"):
        pyserver.shape(*dims)
