"""Inference requests whose JSON part is refused: its syntax, its members, the values in `data`."""

from __future__ import annotations

from typing import Any

from tests.wire.requests import WireRequest, infer, tensor
from tests.wire.table_json import ADD_SUB, ADD_SUB_TEXT, COUNT, ONES, PAIR

_GOOD_INPUT = tensor("INPUT0", "INT32", [1, 2], [1, 2])
_INT32_START = '{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[1,2],"data":'


def _text(name: str, text: str | bytes) -> WireRequest:
    return infer(name, "identity_int32", text)


def _data(name: str, data: str, datatype: str = "INT32", shape: str = "[1,2]") -> WireRequest:
    """An identity request with `data` and `shape` written as they stand."""
    return infer(
        name,
        f"identity_{datatype.lower()}",
        f'{{"inputs":[{{"name":"INPUT0","datatype":"{datatype}","shape":{shape},"data":{data}}}]}}',
    )


def _shape(name: str, shape: str, data: str = "[1,2]", datatype: str = "INT32") -> WireRequest:
    return _data(name, data, datatype, shape)


def _member(name: str, /, **changes: Any) -> WireRequest:
    """A good input with members changed; `None` takes a member away."""
    changed = {k: v for k, v in {**_GOOD_INPUT, **changes}.items() if v is not None}
    return infer(name, "identity_int32", {"inputs": [changed]})


def _top(name: str, /, **changes: Any) -> WireRequest:
    return infer(name, "add_sub", {**ADD_SUB, **changes})


SYNTAX = (
    _text("syntax empty body", ""),
    _text("syntax only white space", "  \n"),
    _text("syntax open brace", "{"),
    _text("syntax cut in a name", '{"inp'),
    _text("syntax cut in a number", _INT32_START + "[1,2"),
    _text("syntax cut before the end", _INT32_START + "[1,2]}]"),
    _text("syntax junk behind", _INT32_START + "[1,2]}]}x"),
    _text("syntax second document behind", _INT32_START + "[1,2]}]}{}"),
    _text("syntax null byte behind", _INT32_START + "[1,2]}]}\0"),
    _text("syntax null byte and junk behind", _INT32_START + "[1,2]}]}\0junk"),
    _text("syntax no json at all", "hello"),
    _text("syntax single quotes", "{'inputs':[]}"),
    _text("syntax comma before the bracket", _INT32_START + "[1,2,]}]}"),
    _text("syntax comma before the brace", '{"inputs":[],}'),
    _text("syntax two commas", _INT32_START + "[1,,2]}]}"),
    _text("syntax missing colon", '{"inputs" []}'),
    _text("syntax missing comma", _INT32_START + "[1 2]}]}"),
    _text("syntax name without quotes", "{inputs:[]}"),
    _text("syntax comment", '{/* no */"inputs":[]}'),
    _text("syntax wrong bracket", _INT32_START + "[1,2}}]}"),
    _text("syntax leading zero", _INT32_START + "[01,2]}]}"),
    _text("syntax plus sign", _INT32_START + "[+1,2]}]}"),
    _text("syntax point without digits", _INT32_START + "[1.,2]}]}"),
    _text("syntax point first", _INT32_START + "[.5,2]}]}"),
    _text("syntax exponent without digits", _INT32_START + "[1e,2]}]}"),
    _text("syntax hexadecimal", _INT32_START + "[0x1,2]}]}"),
    _text("syntax only a minus", _INT32_START + "[-,2]}]}"),
    _text("syntax number too large for a double", _INT32_START + "[1e400,2]}]}"),
    _text("syntax literal in capitals", _INT32_START + "[TRUE,2]}]}"),
    _text("syntax cut literal", _INT32_START + "[tru,2]}]}"),
    _text("syntax nan in small letters", _INT32_START + "[nan,2]}]}"),
    _text("syntax unknown escape", '{"id":"\\q","inputs":[]}'),
    _text("syntax short unicode escape", '{"id":"\\u12","inputs":[]}'),
    _text("syntax lone surrogate", '{"id":"\\ud83d","inputs":[]}'),
    _text("syntax low surrogate alone", '{"id":"\\ude00","inputs":[]}'),
    _text("syntax line break in a string", '{"id":"a\nb","inputs":[]}'),
    _text("syntax bytes that are not UTF-8", b'{"id":"\xff\xfe","inputs":[]}'),
    _text("syntax byte order mark", b"\xef\xbb\xbf" + ADD_SUB_TEXT),
    _text("syntax in UTF-16", ADD_SUB_TEXT.decode().encode("utf-16")),
    _text("syntax unterminated string", '{"id":"abc'),
)

DEPTH = (
    _data("depth 90 in data", "[" * 90 + "1,2" + "]" * 90),
    _data("depth 101 in data", "[" * 101 + "1,2" + "]" * 101),
    _data("depth 1,000 in data", "[" * 1000 + "1,2" + "]" * 1000),
    _data("depth 100,000 in data", "[" * 100_000 + "1,2" + "]" * 100_000),
    _text("depth 100,000 and no end", "[" * 100_000),
    _text("depth 100,000 of objects", '{"a":' * 100_000 + "1" + "}" * 100_000),
    _text("depth 101 in an unknown member", '{"x":' + "[" * 101 + "]" * 101 + ',"inputs":[]}'),
)

TOP_LEVEL = (
    _text("top level null", "null"),
    _text("top level list", "[]"),
    _text("top level string", '"inputs"'),
    _text("top level number", "7"),
    _text("top level empty object", "{}"),
    _top("inputs null", inputs=None),
    _top("inputs object", inputs={"name": "INPUT0"}),
    _top("inputs string", inputs="INPUT0"),
    _top("inputs of numbers", inputs=[1, 2]),
    _top("inputs of null", inputs=[None]),
    _top("inputs of lists", inputs=[[]]),
    _top("inputs empty", inputs=[]),
    _top("id number", id=7),
    _top("id null", id=None),
    _top("id list", id=["a"]),
    _top("parameters null", parameters=None),
    _top("parameters list", parameters=[]),
    _top("parameters string", parameters="x"),
    _top("parameter of an object", parameters={"custom": {"a": 1}}),
    _top("parameter of a list", parameters={"custom": [1]}),
    _top("parameter of null", parameters={"custom": None}),
    _top("parameter reserved", parameters={"triton_enable_empty_final_response": True}),
    _top("parameter reserved and unknown", parameters={"triton_x": 1}),
    _top("binary_data_output string", parameters={"binary_data_output": "true"}),
    _top("binary_data_output number", parameters={"binary_data_output": 1}),
    _top("sequence_id decimal", parameters={"sequence_id": 1.5}),
    _top("sequence_id negative", parameters={"sequence_id": -1}),
    _top("sequence_id boolean", parameters={"sequence_id": True}),
    _top("sequence_start number", parameters={"sequence_start": 1}),
    _top("sequence_end string", parameters={"sequence_end": "false"}),
    _top("priority string", parameters={"priority": "1"}),
    _top("priority negative", parameters={"priority": -1}),
    _top("timeout string", parameters={"timeout": "1000"}),
    _top("timeout decimal", parameters={"timeout": 1.5}),
    _top("outputs null", outputs=None),
    _top("outputs object", outputs={"name": "OUTPUT0"}),
    _top("outputs of strings", outputs=["OUTPUT0"]),
    _top("output without a name", outputs=[{}]),
    _top("output name number", outputs=[{"name": 5}]),
    _top("output unknown", outputs=[{"name": "OUTPUT9"}]),
    _top("output with an empty name", outputs=[{"name": ""}]),
    _top("output twice", outputs=[{"name": "OUTPUT0"}, {"name": "OUTPUT0"}]),
    _top("output parameters list", outputs=[{"name": "OUTPUT0", "parameters": []}]),
    _top(
        "output binary_data string",
        outputs=[{"name": "OUTPUT0", "parameters": {"binary_data": "yes"}}],
    ),
    _top(
        "output classification string",
        outputs=[{"name": "OUTPUT0", "parameters": {"classification": "2"}}],
    ),
    _top(
        "output classification negative",
        outputs=[{"name": "OUTPUT0", "parameters": {"classification": -1}}],
    ),
    _top(
        "output in an unknown region",
        outputs=[
            {
                "name": "OUTPUT0",
                "parameters": {"shared_memory_region": "no", "shared_memory_byte_size": 64},
            }
        ],
    ),
    _top(
        "output in a region and classified",
        outputs=[
            {
                "name": "OUTPUT0",
                "parameters": {
                    "shared_memory_region": "no",
                    "shared_memory_byte_size": 64,
                    "classification": 1,
                },
            }
        ],
    ),
    _top(
        "output in a region and binary",
        outputs=[
            {
                "name": "OUTPUT0",
                "parameters": {
                    "shared_memory_region": "no",
                    "shared_memory_byte_size": 64,
                    "binary_data": True,
                },
            }
        ],
    ),
)

INPUT_MEMBERS = (
    _member("input without a name", name=None),
    _member("input name number", name=3),
    _member("input name empty", name=""),
    _member("input without a datatype", datatype=None),
    _member("input datatype number", datatype=3),
    _member("input datatype unknown", datatype="INT33"),
    _member("input datatype in small letters", datatype="int32"),
    _member("input datatype empty", datatype=""),
    _member("input datatype as in the config", datatype="TYPE_INT32"),
    _member("input datatype STRING", datatype="STRING"),
    _member("input without a shape", shape=None),
    _member("input without data", data=None),
    _member("input parameters string", parameters="x"),
    _member("input parameters list", parameters=[1]),
    _member("input data and binary size", parameters={"binary_data_size": 8}),
    _member("input data and region", parameters={"shared_memory_region": "no"}),
    _member(
        "input data, binary size and region",
        parameters={"binary_data_size": 8, "shared_memory_region": "no"},
    ),
    _member(
        "input binary size and region",
        data=None,
        parameters={"binary_data_size": 8, "shared_memory_region": "no"},
    ),
    _member(
        "input in an unknown region",
        data=None,
        parameters={"shared_memory_region": "no", "shared_memory_byte_size": 8},
    ),
    _member(
        "input in a region without a size", data=None, parameters={"shared_memory_region": "no"}
    ),
    _member(
        "input region number",
        data=None,
        parameters={"shared_memory_region": 5, "shared_memory_byte_size": 8},
    ),
    _member("input binary size string", data=None, parameters={"binary_data_size": "8"}),
    _member("input binary size negative", data=None, parameters={"binary_data_size": -8}),
    _member("input binary size decimal", data=None, parameters={"binary_data_size": 8.0}),
    _member("input binary size boolean", data=None, parameters={"binary_data_size": True}),
    _member("input binary size without bytes", data=None, parameters={"binary_data_size": 8}),
    _member("input binary size huge", data=None, parameters={"binary_data_size": 2**63}),
)

SHAPES = (
    _shape("shape string", '"[1,2]"'),
    _shape("shape number", "2"),
    _shape("shape null", "null"),
    _shape("shape object", "{}"),
    _shape("shape of strings", '["1","2"]'),
    _shape("shape of decimals", "[1.0,2.0]"),
    _shape("shape of lists", "[[1,2]]"),
    _shape("shape of booleans", "[true,2]"),
    _shape("shape negative", "[1,-2]"),
    _shape("shape minus one", "[1,-1]"),
    _shape("shape beyond int64", "[1,9223372036854775808]"),
    _shape("shape beyond uint64", "[1,18446744073709551616]"),
    _shape("shape product overflows", "[4294967296,4294967296,2]"),
    _shape("shape product overflows to zero", "[4294967296,4294967296]"),
    _shape("shape bytes overflow", "[1,4611686018427387904]"),
    _shape("shape huge and no such data", "[1,1000000000000]"),
    _shape("shape empty", "[]"),
    _shape("shape overflows before a zero", "[4294967296,4294967296,4294967296,0]", "[]"),
)

DATA = (
    _data("data null", "null"),
    _data("data string", '"1,2"'),
    _data("data number", "5"),
    _data("data object", '{"0":1}'),
    _data("data too few", "[1]"),
    _data("data none", "[]"),
    _data("data too many", "[1,2,3]"),
    _data("data too many in a nest", "[[1,2],[3]]"),
    _data("data too few floats", "[1.5]", "FP32"),
    _data("data too many floats", "[1.5,2,3]", "FP32"),
    _data("data too few strings", '["a"]', "BYTES"),
    _data("data no strings", "[]", "BYTES"),
    _data("data too many strings", '["a","b","c"]', "BYTES"),
    _data("data too few booleans", "[true]", "BOOL"),
    _data("data too many booleans", "[true,true,true]", "BOOL"),
    _data("data too many of 64 bits", "[1,2,3]", "INT64"),
    _data("data strings for INT32", '["1","2"]'),
    _data("data decimals for INT32", "[1.5,2]"),
    _data("data whole decimals for INT32", "[1.0,2]"),
    _data("data booleans for INT32", "[true,false]"),
    _data("data null for INT32", "[null,2]"),
    _data("data object for INT32", "[{},2]"),
    _data("data beyond int64 for INT32", "[9223372036854775808,2]"),
    _data("data beyond int64 for INT64", "[9223372036854775808,2]", "INT64"),
    _data("data beyond uint64 for UINT64", "[18446744073709551616,2]", "UINT64"),
    _data("data negative for UINT8", "[-1,2]", "UINT8"),
    _data("data negative for UINT64", "[-1,2]", "UINT64"),
    _data("data not a number for INT32", "[NaN,2]"),
    _data("data strings for FP32", '["1.5","2"]', "FP32"),
    _data("data name of a value for FP32", '["NaN","Infinity"]', "FP32"),
    _data("data booleans for FP32", "[true,2]", "FP32"),
    _data("data null for FP64", "[null,2]", "FP64"),
    _data("data numbers for BOOL", "[1,0]", "BOOL"),
    _data("data strings for BOOL", '["true","false"]', "BOOL"),
    _data("data numbers for BYTES", "[1,2]", "BYTES"),
    _data("data booleans for BYTES", "[true,false]", "BYTES"),
    _data("data null for BYTES", '[null,"a"]', "BYTES"),
    _data("data wrong in a nest", '[[1],["2"]]'),
    _data("data for FP16", "[1.5,2]", "FP16"),
    _data("data for BF16", "[1.5,2]", "BF16"),
    _data("data none for FP16 without elements", "[]", "FP16", "[1,0]"),
    infer(
        "data second input wrong",
        "add_sub",
        {"inputs": [PAIR[0], tensor("INPUT1", "FP32", [1, 16], [*ONES[:15], "x"])]},
    ),
    infer(
        "data second input too short",
        "add_sub",
        {"inputs": [PAIR[0], tensor("INPUT1", "FP32", [1, 16], COUNT[:15])]},
    ),
)

BAD_JSON: tuple[WireRequest, ...] = (*SYNTAX, *DEPTH, *TOP_LEVEL, *INPUT_MEMBERS, *SHAPES, *DATA)
