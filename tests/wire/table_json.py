"""Inference requests in JSON that are answered: every datatype, every shape, every way to write
them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.wire.requests import WireRequest, infer, tensor

ONES = [1.0] * 16
COUNT = [float(i) for i in range(16)]
PAIR = [tensor("INPUT0", "FP32", [1, 16], COUNT), tensor("INPUT1", "FP32", [1, 16], ONES)]
ADD_SUB: dict[str, Any] = {"inputs": PAIR}
ADD_SUB_TEXT = (
    b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1,16],"data":[0,1,2,3,4,5,6,7,8,9,10,'
    b'11,12,13,14,15]},{"name":"INPUT1","datatype":"FP32","shape":[1,16],"data":[1,1,1,1,1,1,1,1,1,'
    b"1,1,1,1,1,1,1]}]}"
)
FLOATS = np.arange(16, dtype="<f4").tobytes()


def identity(datatype: str, data: Any, shape: Any = None, **extra: Any) -> dict[str, Any]:
    return {
        "inputs": [tensor("INPUT0", datatype, shape or [1, len(data)], data)],
        **extra,
    }


def _json_value(kind: str, datatype: str, *values: str) -> WireRequest:
    """Values written as they stand into the JSON text of an identity request."""
    text = (
        f'{{"inputs":[{{"name":"INPUT0","datatype":"{datatype}","shape":[1,{len(values)}],'
        f'"data":[{",".join(values)}]}}]}}'
    )
    return infer(f"json {datatype} {kind}", f"identity_{datatype.lower()}", text)


JSON_DATATYPES = (
    _json_value("both values", "BOOL", "true", "false", "true"),
    _json_value("limits", "UINT8", "0", "255"),
    _json_value("limits", "UINT16", "0", "65535"),
    _json_value("limits", "UINT32", "0", "4294967295"),
    _json_value("limits", "UINT64", "0", "18446744073709551615"),
    _json_value("limits", "INT8", "-128", "127"),
    _json_value("limits", "INT16", "-32768", "32767"),
    _json_value("limits", "INT32", "-2147483648", "2147483647"),
    _json_value("limits", "INT64", "-9223372036854775808", "9223372036854775807"),
    _json_value("too wide is cut", "UINT8", "256", "511", "65537"),
    _json_value("too wide is cut", "UINT16", "65536", "131071"),
    _json_value("too wide is cut", "UINT32", "4294967296", "8589934591"),
    _json_value("too wide is cut", "INT8", "128", "-129", "300"),
    _json_value("too wide is cut", "INT16", "32768", "-32769"),
    _json_value("too wide is cut", "INT32", "2147483648", "-2147483649"),
    _json_value("integers", "FP32", "0", "1", "-1", "16777217", "4294967296"),
    _json_value("decimals", "FP32", "0.1", "0.5", "-2.25", "3.14159274", "1234.5678"),
    _json_value("small", "FP32", "1e-6", "9.99e-7", "1e-7", "1.5e-10", "1.1754944e-38", "1e-45"),
    _json_value("large", "FP32", "1e15", "1e16", "1e20", "1e21", "1.5e22", "3.4028235e38"),
    _json_value("negative zero", "FP32", "-0.0", "0.0", "-0"),
    _json_value("not numbers", "FP32", "NaN", "Infinity", "-Infinity", "Inf", "-Inf"),
    _json_value("beyond the range", "FP32", "1e39", "-1e39", "1e-50"),
    _json_value("decimals", "FP64", "0.1", "0.2", "0.30000000000000004", "2.5e-3", "123456.789"),
    _json_value(
        "small", "FP64", "1e-5", "1e-6", "1e-7", "1.25e-7", "5e-324", "2.2250738585072014e-308"
    ),
    _json_value("large", "FP64", "1e15", "123456789012345680", "1e20", "1e21", "1.5e22", "1e300"),
    _json_value("largest", "FP64", "1.7976931348623157e308", "-1.7976931348623157e308"),
    _json_value("not numbers", "FP64", "NaN", "Infinity", "-Infinity"),
    _json_value("integers", "FP64", "9007199254740993", "18446744073709551615", "-5"),
    _json_value("exponent forms", "FP64", "1E5", "1e+5", "12e-1", "0e0", "0.0e-0"),
    _json_value("plain", "BYTES", '"a"', '"bc"', '""'),
    _json_value("escapes", "BYTES", '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\u0041\\u00e9\\u20ac"'),
    _json_value("surrogate pair", "BYTES", '"\\ud83d\\ude00"', '"😀 grün"'),
    _json_value("control characters", "BYTES", '"\\u0001\\u001f\\u007f"', '"a\\u0000b"'),
)

JSON_SHAPES = (
    infer("json add_sub", "add_sub", ADD_SUB),
    infer("json integers for floats", "add_sub", ADD_SUB_TEXT),
    infer(
        "json batch of two",
        "add_sub",
        {
            "inputs": [
                tensor("INPUT0", "FP32", [2, 16], COUNT + ONES),
                tensor("INPUT1", "FP32", [2, 16], ONES + COUNT),
            ]
        },
    ),
    infer(
        "json nested data",
        "add_sub",
        {
            "inputs": [
                tensor("INPUT0", "FP32", [2, 16], [COUNT, ONES]),
                tensor("INPUT1", "FP32", [2, 16], [ONES, COUNT]),
            ]
        },
    ),
    infer(
        "json nesting unlike the shape",
        "add_sub",
        {
            "inputs": [
                tensor("INPUT0", "FP32", [1, 16], [[[COUNT[:4]], COUNT[4:8]], [[[COUNT[8:]]]]]),
                tensor("INPUT1", "FP32", [1, 16], [ONES[:1], *ONES[1:]]),
            ]
        },
    ),
    infer("json nested empty lists", "identity_int32", identity("INT32", [[], [1, []], 2], [1, 2])),
    infer("json inputs in reverse order", "add_sub", {"inputs": PAIR[::-1]}),
    infer(
        "json no batching",
        "add_sub_nobatch",
        {
            "inputs": [
                tensor("INPUT0", "INT32", [16], list(range(16))),
                tensor("INPUT1", "INT32", [16], [1] * 16),
            ]
        },
    ),
    infer("json variable dimension", "fixed_matrix", identity("INT32", list(range(12)), [2, 2, 3])),
    infer("json empty tensor", "identity_fp32", identity("FP32", [], [1, 0])),
    infer("json empty tensor of strings", "identity_bytes", identity("BYTES", [], [1, 0])),
    infer("json empty tensor, data ignored", "identity_fp32", identity("FP32", ["x", 7], [1, 0])),
    infer("json batch of zero", "identity_fp32", identity("FP32", [], [0, 3])),
    infer("json variable dimension empty", "fixed_matrix", identity("INT32", [], [2, 0, 3])),
    infer("json largest batch", "identity_int32", identity("INT32", list(range(16)), [8, 2])),
    infer("json id", "add_sub", {"id": "request-7", **ADD_SUB}),
    infer("json empty id", "add_sub", {"id": "", **ADD_SUB}),
    infer("json id with escapes", "add_sub", {"id": 'a"\\\n\u00e9\u20ac', **ADD_SUB}),
    infer(
        "json model_name and unknown members",
        "add_sub",
        {"model_name": "other", "model_version": 9, "unknown": {"a": [1]}, **ADD_SUB},
    ),
    infer(
        "json white space everywhere",
        "identity_int32",
        '\r\n\t { "inputs" : [ { "name" : "INPUT0" ,\n"datatype" : "INT32" , "shape" : [ 1 , 2 ] , '
        '"data" : [ 1 ,\t2 ] } ] } \n\n',
    ),
    infer(
        "json members in another order",
        "identity_int32",
        '{"inputs":[{"data":[1,2],"shape":[1,2],"datatype":"INT32","name":"INPUT0"}],"id":"x"}',
    ),
    infer(
        "json escaped member names",
        "identity_int32",
        '{"\\u0069nputs":[{"name":"INPUT\\u0030","datatype":"INT32","shape":[1,1],"data":[5]}]}',
    ),
    infer(
        "json repeated member",
        "identity_int32",
        '{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[1,1],"shape":[1,2],"data":[5]}]}',
    ),
    infer("json reshape", "reshape", {"inputs": [tensor("INPUT0", "FP32", [1, 4], [1, 2, 3, 4])]}),
    infer(
        "json reshape of a batch",
        "reshape",
        {"inputs": [tensor("INPUT0", "FP32", [2, 4], [1, 2, 3, 4, 5, 6, 7, 8])]},
    ),
    infer(
        "json reshape to scalars",
        "reshape_scalar",
        {"inputs": [tensor("INPUT0", "FP32", [3, 1], [1, 2, 3])]},
    ),
    infer(
        "json optional inputs missing",
        "optional_inputs",
        {"inputs": [tensor("INPUT0", "INT32", [1, 2], [1, 2])]},
    ),
    infer(
        "json one optional input",
        "optional_inputs",
        {
            "inputs": [
                tensor("INPUT0", "INT32", [1, 2], [1, 2]),
                tensor("INPUT2", "INT32", [1, 2], [3, 4]),
            ]
        },
    ),
    infer(
        "json all optional inputs",
        "optional_inputs",
        {"inputs": [tensor(f"INPUT{i}", "INT32", [1, 2], [i + 1, i + 2]) for i in range(3)]},
    ),
    infer(
        "json two strings",
        "two_strings",
        {
            "inputs": [
                tensor("LEFT", "BYTES", [2], ["a", "b"]),
                tensor("RIGHT", "BYTES", [2], ["c", ""]),
            ]
        },
    ),
    infer(
        "json auto-completed config",
        "no_config",
        {"inputs": [tensor("INPUT0", "FP32", [1, 4], [1, 2, 3, 4])]},
    ),
    infer(
        "json version in the path", "versions", version="1", request=identity("INT32", [1, 2], [2])
    ),
    infer("json newest version", "versions", identity("INT32", [1, 2], [2])),
    infer("json version three", "versions", version="3", request=identity("INT32", [1, 2], [2])),
    infer(
        "json version with leading zeros",
        "versions",
        version="003",
        request=identity("INT32", [1, 2], [2]),
    ),
    infer("json newest by the default policy", "versions_latest", identity("INT32", [1, 2], [2])),
)


JSON: tuple[WireRequest, ...] = (*JSON_DATATYPES, *JSON_SHAPES)
