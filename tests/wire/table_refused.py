"""Inference requests that are well-formed and still refused: by the framing of binary data, by
what the model expects, or by the model itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.wire.requests import WireRequest, infer, strings, tensor
from tests.wire.table_json import ADD_SUB, ADD_SUB_TEXT, COUNT, ONES, PAIR

_JSON = (
    b'{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[1,2],'
    b'"parameters":{"binary_data_size":8}}]}'
)
_EIGHT = np.array([7, 8], "<i4").tobytes()


def _header_length(name: str, value: str) -> WireRequest:
    return infer(name, "identity_int32", _JSON + _EIGHT, header_length=value)


def _sized(
    name: str, payload: bytes, size: int, datatype: str = "INT32", shape: Any = (1, 2)
) -> WireRequest:
    """An identity request that announces `size` bytes and carries `payload`."""
    return infer(
        name,
        f"identity_{datatype.lower()}",
        {"inputs": [tensor("INPUT0", datatype, shape, binary_data_size=size)]},
        binary=payload,
    )


HEADER_LENGTH = (
    _header_length("header length beyond the body", str(len(_JSON) + 9)),
    _header_length("header length far beyond the body", "1000000"),
    _header_length("header length negative", "-1"),
    _header_length("header length of words", "abc"),
    _header_length("header length empty", ""),
    _header_length("header length decimal", "10.5"),
    _header_length("header length with junk", f"{len(_JSON)}x"),
    _header_length("header length with a plus", f"+{len(_JSON)}"),
    _header_length("header length hexadecimal", hex(len(_JSON))),
    _header_length("header length beyond int32", "4294967296"),
    _header_length("header length beyond int64", "99999999999999999999"),
    _header_length("header length too short", str(len(_JSON) - 1)),
    _header_length("header length of one", "1"),
    _header_length("header length too long", str(len(_JSON) + 2)),
    _header_length("header length beside blanks", f"  {len(_JSON)}  "),
    infer("header length missing", "identity_int32", _JSON + _EIGHT),
    infer("header length of an empty body", "identity_int32", b"", header_length=5),
)

BINARY = (
    _sized("binary bytes missing", _EIGHT[:4], 8),
    _sized("binary bytes left over", _EIGHT + b"x", 8),
    _sized("binary size smaller than the shape", _EIGHT[:4], 4),
    _sized("binary size larger than the shape", _EIGHT + b"abcd", 12),
    _sized("binary size zero", b"", 0),
    _sized("binary size of one byte", b"a", 1),
    _sized("binary bytes for an empty tensor", b"abcd", 4, shape=(1, 0)),
    _sized("binary shape of words", _EIGHT, 8, shape=("x",)),
    infer(
        "binary datatype not in the list",
        "identity_int32",
        {"inputs": [tensor("INPUT0", "INT33", [1, 2], binary_data_size=8)]},
        binary=_EIGHT,
    ),
    infer(
        "binary second input missing",
        "add_sub",
        {
            "inputs": [
                tensor("INPUT0", "FP32", [1, 16], binary_data_size=64),
                tensor("INPUT1", "FP32", [1, 16], binary_data_size=64),
            ]
        },
        binary=np.arange(20, dtype="<f4").tobytes(),
    ),
    infer("binary bytes and only json inputs", "add_sub", ADD_SUB, binary=b"1234"),
    _sized("binary strings without elements", b"", 0, "BYTES"),
    _sized("binary strings, length cut", b"\x01\x00\x00", 3, "BYTES", (1, 1)),
    _sized("binary strings, one too few", strings(b"a"), 5, "BYTES"),
    _sized("binary strings, one too many", strings(b"a", b"b", b"c"), 15, "BYTES"),
    _sized("binary strings, second length cut", strings(b"a") + b"\x01\x00", 7, "BYTES"),
    _sized("binary strings, last one cut", strings(b"a") + b"\x05\x00\x00\x00ab", 11, "BYTES"),
    _sized("binary strings, length beyond all", b"\xff\xff\xff\xffab", 6, "BYTES", (1, 1)),
    _sized("binary strings for no elements", strings(b"a"), 5, "BYTES", (1, 0)),
    infer(
        "binary FP16 to json",
        "identity_fp16",
        {"inputs": [tensor("INPUT0", "FP16", [1, 2], binary_data_size=4)]},
        binary=np.array([1, 2], "<f2").tobytes(),
    ),
    infer(
        "binary BF16 to json",
        "identity_bf16",
        {"inputs": [tensor("INPUT0", "BF16", [1, 2], binary_data_size=4)]},
        binary=b"\x80\x3f\x00\x40",
    ),
    infer(
        "binary empty FP16 to json",
        "identity_fp16",
        {"inputs": [tensor("INPUT0", "FP16", [1, 0], binary_data_size=0)]},
        binary=b"",
    ),
)


def _raw(name: str, model: str, body: bytes, **fields: Any) -> WireRequest:
    return infer(name, model, body, header_length=0, **fields)


RAW = (
    _raw("raw of two inputs", "add_sub", _EIGHT),
    _raw("raw of two variable dimensions", "two_wild", _EIGHT),
    _raw("raw of strings that are not one", "identity_bytes", b"hello"),
    _raw("raw of a part of an element", "identity_int32", b"abc"),
    _raw("raw of the wrong size", "reshape", _EIGHT),
    _raw("raw to an unknown model", "no_such_model", _EIGHT),
    _raw("raw of optional inputs", "optional_inputs", _EIGHT),
)

CLASSIFICATION = (
    infer(
        "classification of FP16",
        "classify",
        {
            "inputs": [tensor("INPUT0", "FP32", [1, 5], [1, 2, 3, 4, 5])],
            "outputs": [{"name": "HALVES", "parameters": {"classification": 1}}],
        },
    ),
    infer(
        "classification of strings",
        "identity_bytes",
        {
            "inputs": [tensor("INPUT0", "BYTES", [1, 1], ["a"])],
            "outputs": [{"name": "OUTPUT0", "parameters": {"classification": 1}}],
        },
    ),
    infer(
        "classification of booleans",
        "identity_bool",
        {
            "inputs": [tensor("INPUT0", "BOOL", [1, 1], [True])],
            "outputs": [{"name": "OUTPUT0", "parameters": {"classification": 1}}],
        },
    ),
)

_PAIR_2 = [
    tensor("INPUT0", "FP32", [2, 16], COUNT + ONES),
    tensor("INPUT1", "FP32", [1, 16], ONES),
]
_OPTIONAL = tensor("INPUT0", "INT32", [1, 2], [1, 2])
_INT_PAIR = [
    tensor("INPUT0", "INT32", [16], [1] * 16),
    tensor("INPUT1", "INT32", [16], [1] * 16),
]


def _identity(name: str, datatype: str, shape: list[int], **fields: Any) -> WireRequest:
    data = [1] * int(np.prod(shape))
    return infer(
        name, "identity_int32", {"inputs": [tensor("INPUT0", datatype, shape, data)]}, **fields
    )


EXPECTATIONS = (
    infer("model unknown", "no_such_model", ADD_SUB_TEXT),
    infer("model unknown and no json", "no_such_model", "{"),
    infer("model unknown with a version", "no_such_model", ADD_SUB_TEXT, version="1"),
    infer("model name in percent code", "add%5Fsub", ADD_SUB_TEXT),
    infer("model name in capitals", "ADD_SUB", ADD_SUB_TEXT),
    infer("model version unknown", "add_sub", ADD_SUB_TEXT, version="2"),
    infer("model version zero", "add_sub", ADD_SUB_TEXT, version="0"),
    infer("model version between two", "versions", ADD_SUB_TEXT, version="2"),
    infer("model version beyond int64", "add_sub", ADD_SUB_TEXT, version="9223372036854775808"),
    infer("model version not served by the policy", "versions_latest", ADD_SUB_TEXT, version="1"),
    infer("model version of words", "add_sub", ADD_SUB_TEXT, version="latest"),
    infer("model version negative", "add_sub", ADD_SUB_TEXT, version="-1"),
    infer("model decoupled", "decoupled", {"inputs": [tensor("INPUT0", "INT32", [1], [2])]}),
    infer("model decoupled and no json", "decoupled", "{"),
    infer("inputs one missing", "add_sub", {"inputs": PAIR[:1]}),
    infer("inputs the first missing", "add_sub", {"inputs": PAIR[1:], "id": "my-id"}),
    infer("inputs all missing", "add_sub", {"inputs": [], "id": "my-id"}),
    infer(
        "inputs one too many",
        "add_sub",
        {"inputs": [*PAIR, tensor("INPUT2", "FP32", [1, 16], ONES)]},
    ),
    infer(
        "inputs one unknown",
        "add_sub",
        {"inputs": [PAIR[0], tensor("OTHER", "FP32", [1, 16], ONES)]},
    ),
    infer("inputs one twice", "add_sub", {"inputs": [PAIR[0], PAIR[0]]}),
    infer("inputs one twice beside all", "add_sub", {"inputs": [*PAIR, PAIR[0]]}),
    infer(
        "inputs only optional ones",
        "optional_inputs",
        {"inputs": [tensor("INPUT1", "INT32", [1, 2], [1, 2])]},
    ),
    infer("inputs none of optional ones", "optional_inputs", {"inputs": []}),
    infer(
        "inputs unknown beside optional ones",
        "optional_inputs",
        {"inputs": [_OPTIONAL, tensor("OTHER", "INT32", [1, 2], [1, 2])]},
    ),
    infer(
        "inputs too many beside optional ones",
        "optional_inputs",
        {"inputs": [_OPTIONAL, *(tensor(f"INPUT{i}", "INT32", [1, 2], [1, 2]) for i in (1, 2, 3))]},
    ),
    infer("batch sizes differ", "add_sub", {"inputs": _PAIR_2}),
    infer("batch sizes differ, first smaller", "add_sub", {"inputs": _PAIR_2[::-1]}),
    _identity("batch too large", "INT32", [9, 1]),
    infer(
        "batch too large with an id",
        "identity_int32",
        {"id": "b-9", "inputs": [tensor("INPUT0", "INT32", [9, 1], [1] * 9)]},
    ),
    infer(
        "batch dimension missing",
        "add_sub",
        {"inputs": [tensor("INPUT0", "FP32", [16], COUNT), tensor("INPUT1", "FP32", [16], ONES)]},
    ),
    infer(
        "batch dimension to a model without",
        "add_sub_nobatch",
        {
            "inputs": [
                tensor("INPUT0", "INT32", [1, 16], [1] * 16),
                tensor("INPUT1", "INT32", [1, 16], [1] * 16),
            ]
        },
    ),
    _identity("rank too high", "INT32", [1, 1, 1]),
    _identity("rank one", "INT32", [1]),
    infer(
        "rank zero without batching",
        "add_sub_nobatch",
        {"inputs": [tensor("INPUT0", "INT32", [], [1]), tensor("INPUT1", "INT32", [], [1])]},
    ),
    _identity("datatype of another width", "INT64", [1, 2]),
    _identity("datatype of floats", "FP32", [1, 2]),
    infer(
        "datatype strings for numbers",
        "identity_int32",
        {"inputs": [tensor("INPUT0", "BYTES", [1, 2], ["a", "b"])]},
    ),
    infer(
        "shape of another length",
        "add_sub",
        {"inputs": [tensor("INPUT0", "FP32", [1, 8], [1] * 8), PAIR[1]]},
    ),
    infer(
        "shape of the second input",
        "add_sub",
        {"id": "s-2", "inputs": [PAIR[0], tensor("INPUT1", "FP32", [1, 17], [1] * 17)]},
    ),
    infer(
        "shape without batching",
        "add_sub_nobatch",
        {"inputs": [_INT_PAIR[0], tensor("INPUT1", "INT32", [15], [1] * 15)]},
    ),
    infer(
        "shape with a variable part",
        "fixed_matrix",
        {"inputs": [tensor("INPUT0", "INT32", [2, 2, 4], [1] * 16)]},
    ),
    infer(
        "shape zero where it is fixed",
        "add_sub_nobatch",
        {"inputs": [tensor("INPUT0", "INT32", [0], []), _INT_PAIR[1]]},
    ),
    infer(
        "shape as reshaped",
        "reshape",
        {"inputs": [tensor("INPUT0", "FP32", [1, 2, 2], [1, 2, 3, 4])]},
    ),
    infer(
        "datatype and shape both wrong",
        "add_sub",
        {"inputs": [tensor("INPUT0", "INT32", [1, 8], [1] * 8), PAIR[1]]},
    ),
    infer(
        "unknown output and missing input",
        "add_sub",
        {"inputs": PAIR[:1], "outputs": [{"name": "OUTPUT9"}]},
    ),
    infer(
        "unknown output and wrong shape",
        "add_sub",
        {
            "inputs": [tensor("INPUT0", "FP32", [1, 8], [1] * 8), PAIR[1]],
            "outputs": [{"name": "OUTPUT9"}],
        },
    ),
)

_FAILURES = {
    0: "not at all",
    1: "UNKNOWN",
    2: "INTERNAL",
    3: "NOT_FOUND",
    4: "INVALID_ARG",
    5: "UNAVAILABLE",
    6: "UNSUPPORTED",
    7: "ALREADY_EXISTS",
    8: "CANCELLED",
    9: "no code",
    20: "an exception",
    21: "too few responses",
    22: "no list",
    23: "no response object",
    24: "an unknown output",
    25: "another datatype",
    26: "another shape",
    27: "no output",
}

MODEL_ERRORS = (
    *(
        infer(
            f"model fails with {how}",
            "failing",
            {"inputs": [tensor("CODE", "INT32", [1, 1], [code])]},
        )
        for code, how in _FAILURES.items()
    ),
    infer(
        "model fails, id and encoding given",
        "failing",
        {"id": "f-1", "inputs": [tensor("CODE", "INT32", [1, 1], [4])]},
        headers=(("Accept-Encoding", "gzip"),),
    ),
)

REFUSED: tuple[WireRequest, ...] = (
    *HEADER_LENGTH,
    *BINARY,
    *RAW,
    *CLASSIFICATION,
    *EXPECTATIONS,
    *MODEL_ERRORS,
)
