"""Inference requests that are answered, by what they ask for: outputs, classes, parameters."""

from __future__ import annotations

from typing import Any

from tests.wire.requests import WireRequest, infer, tensor
from tests.wire.table_json import ADD_SUB, identity

OUTPUTS = (
    infer("outputs one of two", "add_sub", {**ADD_SUB, "outputs": [{"name": "OUTPUT1"}]}),
    infer(
        "outputs in reverse",
        "add_sub",
        {**ADD_SUB, "outputs": [{"name": "OUTPUT1"}, {"name": "OUTPUT0"}]},
    ),
    infer("outputs empty list", "add_sub", {**ADD_SUB, "outputs": []}),
    infer(
        "outputs binary",
        "add_sub",
        {
            **ADD_SUB,
            "outputs": [
                {"name": "OUTPUT0", "parameters": {"binary_data": True}},
                {"name": "OUTPUT1", "parameters": {"binary_data": True}},
            ],
        },
    ),
    infer(
        "outputs one binary one json",
        "add_sub",
        {
            **ADD_SUB,
            "outputs": [
                {"name": "OUTPUT0", "parameters": {"binary_data": False}},
                {"name": "OUTPUT1", "parameters": {"binary_data": True}},
            ],
        },
    ),
    infer(
        "outputs binary by default",
        "add_sub",
        {**ADD_SUB, "parameters": {"binary_data_output": True}},
    ),
    infer(
        "outputs listed ignore binary_data_output",
        "add_sub",
        {**ADD_SUB, "parameters": {"binary_data_output": True}, "outputs": [{"name": "OUTPUT0"}]},
    ),
    infer(
        "outputs listed false under binary_data_output",
        "add_sub",
        {
            **ADD_SUB,
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": False}}],
        },
    ),
    infer(
        "outputs empty list under binary_data_output",
        "add_sub",
        {**ADD_SUB, "parameters": {"binary_data_output": True}, "outputs": []},
    ),
    infer(
        "outputs binary_data_output false",
        "add_sub",
        {**ADD_SUB, "parameters": {"binary_data_output": False}},
    ),
    infer(
        "outputs unknown parameter",
        "add_sub",
        {**ADD_SUB, "outputs": [{"name": "OUTPUT0", "parameters": {"other": 3}}]},
    ),
    infer(
        "outputs all binary, one empty",
        "many_outputs",
        {**identity("INT32", [4, 5], [2]), "parameters": {"binary_data_output": True}},
    ),
    infer(
        "outputs only the empty one, binary",
        "many_outputs",
        {
            **identity("INT32", [4, 5], [2]),
            "outputs": [{"name": "C_EMPTY", "parameters": {"binary_data": True}}],
        },
    ),
    infer(
        "outputs only the empty one, json",
        "many_outputs",
        {**identity("INT32", [4, 5], [2]), "outputs": [{"name": "C_EMPTY"}]},
    ),
    infer(
        "outputs a model makes more than asked for",
        "many_outputs",
        {
            **identity("INT32", [4, 5], [2]),
            "outputs": [{"name": "A_SUM"}, {"name": "B_TEXT"}],
        },
    ),
    infer(
        "outputs half in binary, rest in json",
        "many_outputs",
        {
            **identity("INT32", [4, 5], [2]),
            "outputs": [
                {"name": "A_SUM"},
                {"name": "B_TEXT"},
                {"name": "C_EMPTY"},
                {"name": "D_HALF", "parameters": {"binary_data": True}},
            ],
        },
    ),
    infer(
        "outputs strings in binary",
        "identity_bytes",
        identity(
            "BYTES",
            ["ab", "", "c"],
            outputs=[{"name": "OUTPUT0", "parameters": {"binary_data": True}}],
        ),
    ),
    infer(
        "outputs empty tensor in binary",
        "identity_fp32",
        identity(
            "FP32",
            [],
            [1, 0],
            outputs=[{"name": "OUTPUT0", "parameters": {"binary_data": True}}],
        ),
    ),
)


_SCORES = {"inputs": [tensor("INPUT0", "FP32", [1, 5], [0.1, 0.7, 0.05, 2.5, 2.5])]}


def _classes(name: str, outputs: list[dict[str, Any]], request: Any = None) -> WireRequest:
    return infer(name, "classify", {**(request or _SCORES), "outputs": outputs})


CLASSIFICATION = (
    _classes("classification top two", [{"name": "SCORES", "parameters": {"classification": 2}}]),
    _classes(
        "classification more than there are",
        [{"name": "SCORES", "parameters": {"classification": 9}}],
    ),
    _classes(
        "classification in binary",
        [{"name": "SCORES", "parameters": {"classification": 3, "binary_data": True}}],
    ),
    _classes(
        "classification of integers without labels",
        [{"name": "COUNTS", "parameters": {"classification": 2}}],
    ),
    _classes(
        "classification beside a plain output",
        [
            {"name": "SCORES", "parameters": {"classification": 1}},
            {"name": "COUNTS"},
        ],
    ),
    _classes(
        "classification of zero is none", [{"name": "SCORES", "parameters": {"classification": 0}}]
    ),
    _classes(
        "classification of a batch",
        [{"name": "SCORES", "parameters": {"classification": 2}}],
        {"inputs": [tensor("INPUT0", "FP32", [2, 5], [1, 2, 3, 4, 5, -1, -2.5, 1e10, 1e-9, 0])]},
    ),
)


def _parameters(name: str, parameters: Any, **extra: Any) -> WireRequest:
    return infer(
        name,
        "parameters",
        {"inputs": [tensor("INPUT0", "INT32", [1], [1])], "parameters": parameters, **extra},
    )


PARAMETERS = (
    _parameters("parameters none", {}),
    _parameters("parameters of each kind", {"s": "text", "i": 7, "n": -7, "b": True, "f": False}),
    _parameters("parameters double", {"d": 1.5}),
    _parameters("parameters largest integer", {"i": 9223372036854775807}),
    _parameters("parameters integer beyond int64", {"i": 9223372036854775808}),
    _parameters("parameters integer beyond uint64", {"i": 18446744073709551616}),
    _parameters("parameters with escapes", {'k"\n': "v\\\u00e9"}),
    _parameters("parameters timeout and priority", {"timeout": 5000000, "priority": 2}),
    _parameters(
        "parameters sequence by number",
        {"sequence_id": 42, "sequence_start": True, "sequence_end": False},
    ),
    _parameters(
        "parameters sequence by text",
        {"sequence_id": "abc", "sequence_start": False, "sequence_end": True},
    ),
    _parameters("parameters id seen by the model", {}, id="seen-1"),
    _parameters(
        "parameters outputs seen by the model",
        {},
        outputs=[{"name": "TIMEOUT"}, {"name": "OUTPUTS"}],
    ),
    _parameters("parameters repeated", {"a": 1}),
    infer(
        "parameters on an input are ignored",
        "identity_int32",
        {
            "inputs": [tensor("INPUT0", "INT32", [1, 1], [3], other="x", more=2)],
        },
    ),
)


ASKED: tuple[WireRequest, ...] = (*OUTPUTS, *CLASSIFICATION, *PARAMETERS)
