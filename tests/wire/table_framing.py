"""Inference requests that are answered, by how their bytes travel: binary tensors, raw bodies,
compression, chunks, several in one go.
"""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import numpy as np

from tests.wire.requests import WireRequest, infer, strings, tensor
from tests.wire.table_json import ADD_SUB, ADD_SUB_TEXT, FLOATS, PAIR


def _binary(datatype: str, payload: bytes, count: int, *, both: bool = True) -> WireRequest:
    """An identity request whose tensor travels as bytes; `both`: on the way back too."""
    request: dict[str, Any] = {
        "inputs": [tensor("INPUT0", datatype, [1, count], binary_data_size=len(payload))]
    }
    if both:
        request["outputs"] = [{"name": "OUTPUT0", "parameters": {"binary_data": True}}]
    way = "binary" if both else "binary to json"
    return infer(f"{way} {datatype}", f"identity_{datatype.lower()}", request, binary=payload)


_TYPED = {
    "BOOL": np.array([True, False], "?"),
    "UINT8": np.array([0, 255], "<u1"),
    "UINT16": np.array([0, 65535], "<u2"),
    "UINT32": np.array([0, 4294967295], "<u4"),
    "UINT64": np.array([0, 18446744073709551615], "<u8"),
    "INT8": np.array([-128, 127], "<i1"),
    "INT16": np.array([-32768, 32767], "<i2"),
    "INT32": np.array([-2147483648, 2147483647], "<i4"),
    "INT64": np.array([-(2**63), 2**63 - 1], "<i8"),
    "FP16": np.array([1.5, -2.0], "<f2"),
    "FP32": np.array([0.1, -2.0], "<f4"),
    "FP64": np.array([0.1, -2.0], "<f8"),
}
_TWO_BINARY = [
    tensor("INPUT0", "FP32", [1, 16], binary_data_size=64),
    tensor("INPUT1", "FP32", [1, 16], binary_data_size=64),
]

BINARY = (
    *(_binary(datatype, values.tobytes(), 2) for datatype, values in _TYPED.items()),
    *(
        _binary(datatype, values.tobytes(), 2, both=False)
        for datatype, values in _TYPED.items()
        if datatype != "FP16"
    ),
    _binary("BF16", b"\x80\x3f\x00\xc0", 2),
    _binary("BYTES", strings(b"ab", b"", b"\x00\xff"), 3),
    _binary("BYTES", strings("é€".encode(), b"plain"), 2, both=False),
    infer(
        "binary BOOL other than 0 and 1",
        "identity_bool",
        {
            "inputs": [tensor("INPUT0", "BOOL", [1, 3], binary_data_size=3)],
        },
        binary=b"\x02\x00\xff",
    ),
    infer(
        "binary FP32 not numbers to json",
        "identity_fp32",
        {
            "inputs": [tensor("INPUT0", "FP32", [1, 3], binary_data_size=12)],
        },
        binary=np.array([np.nan, np.inf, -np.inf], "<f4").tobytes(),
    ),
    infer(
        "binary strings that are not UTF-8 to json",
        "identity_bytes",
        {
            "inputs": [tensor("INPUT0", "BYTES", [1, 1], binary_data_size=6)],
        },
        binary=strings(b"\xff\xfe"),
    ),
    infer("binary two inputs", "add_sub", {"inputs": _TWO_BINARY}, binary=FLOATS + FLOATS),
    infer(
        "binary first, json second", "add_sub", {"inputs": [_TWO_BINARY[0], PAIR[1]]}, binary=FLOATS
    ),
    infer(
        "json first, binary second", "add_sub", {"inputs": [PAIR[0], _TWO_BINARY[1]]}, binary=FLOATS
    ),
    infer(
        "binary with id and binary outputs",
        "add_sub",
        {
            "id": "b-1",
            "inputs": _TWO_BINARY,
            "parameters": {"binary_data_output": True},
        },
        binary=FLOATS + FLOATS,
    ),
    infer(
        "binary two string inputs",
        "two_strings",
        {
            "inputs": [
                tensor("LEFT", "BYTES", [2], binary_data_size=10),
                tensor("RIGHT", "BYTES", [2], binary_data_size=11),
            ]
        },
        binary=strings(b"a", b"b") + strings(b"xyz", b""),
    ),
    infer(
        "binary empty tensor",
        "identity_fp32",
        {
            "inputs": [tensor("INPUT0", "FP32", [1, 0], binary_data_size=0)],
        },
        binary=b"",
    ),
    infer(
        "binary empty tensor back in binary",
        "identity_fp32",
        {
            "inputs": [tensor("INPUT0", "FP32", [1, 0], binary_data_size=0)],
            "parameters": {"binary_data_output": True},
        },
        binary=b"",
    ),
    infer(
        "binary empty strings",
        "identity_bytes",
        {
            "inputs": [tensor("INPUT0", "BYTES", [1, 0], binary_data_size=0)],
        },
        binary=b"",
    ),
    infer(
        "binary batch of three",
        "identity_int32",
        {
            "inputs": [tensor("INPUT0", "INT32", [3, 2], binary_data_size=24)],
            "parameters": {"binary_data_output": True},
        },
        binary=np.arange(6, dtype="<i4").tobytes(),
    ),
    infer(
        "binary header length is the whole body",
        "add_sub",
        ADD_SUB_TEXT,
        header_length=len(ADD_SUB_TEXT),
    ),
    infer(
        "binary of 20,000 bytes",
        "identity_uint8",
        {
            "inputs": [tensor("INPUT0", "UINT8", [1, 20000], binary_data_size=20000)],
            "parameters": {"binary_data_output": True},
        },
        binary=bytes(range(250)) * 80,
    ),
)


def _raw(name: str, model: str, body: bytes, **fields: Any) -> WireRequest:
    return infer(name, model, body, header_length=0, **fields)


RAW = (
    _raw("raw FP32", "identity_fp32", np.arange(3, dtype="<f4").tobytes()),
    _raw("raw UINT8", "identity_uint8", b"abc"),
    _raw("raw FP16", "identity_fp16", np.array([1.5, 2.0], "<f2").tobytes()),
    _raw("raw string", "one_string", b"hello"),
    _raw("raw empty string", "one_string", b""),
    _raw("raw with a fixed shape", "reshape", np.arange(4, dtype="<f4").tobytes()),
    _raw("raw without a batch dimension", "fixed_matrix", np.arange(12, dtype="<i4").tobytes()),
    _raw("raw empty body", "identity_fp32", b""),
    _raw("raw to a version", "versions", np.arange(2, dtype="<i4").tobytes(), version="1"),
    _raw(
        "raw in gzip",
        "identity_fp32",
        gzip.compress(np.arange(3, dtype="<f4").tobytes(), mtime=0),
        headers=(("Content-Encoding", "gzip"),),
    ),
)

_GZIP = gzip.compress(ADD_SUB_TEXT, mtime=0)
_DEFLATE = zlib.compress(ADD_SUB_TEXT)
_BINARY_JSON = (
    b'{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[1,2],'
    b'"parameters":{"binary_data_size":8}}]}'
)
_BINARY_BODY = _BINARY_JSON + np.array([7, 8], "<i4").tobytes()


def _encoded(name: str, body: bytes, *headers: tuple[str, str]) -> WireRequest:
    return infer(name, "add_sub", body, headers=headers)


COMPRESSION = (
    _encoded("body in gzip", _GZIP, ("Content-Encoding", "gzip")),
    _encoded("body in deflate", _DEFLATE, ("Content-Encoding", "deflate")),
    _encoded("body in identity", ADD_SUB_TEXT, ("Content-Encoding", "identity")),
    _encoded("body with an empty encoding", ADD_SUB_TEXT, ("Content-Encoding", "")),
    infer(
        "body in gzip with a binary tensor",
        "identity_int32",
        gzip.compress(_BINARY_BODY, mtime=0),
        header_length=len(_BINARY_JSON),
        headers=(("Content-Encoding", "gzip"),),
    ),
    _encoded("answer in gzip", ADD_SUB_TEXT, ("Accept-Encoding", "gzip")),
    _encoded("answer in deflate", ADD_SUB_TEXT, ("Accept-Encoding", "deflate")),
    _encoded("answer in identity", ADD_SUB_TEXT, ("Accept-Encoding", "identity")),
    _encoded("answer in the only known one", ADD_SUB_TEXT, ("Accept-Encoding", "br, gzip")),
    _encoded("answer in an unknown encoding", ADD_SUB_TEXT, ("Accept-Encoding", "br")),
    _encoded("answer in the first of equals", ADD_SUB_TEXT, ("Accept-Encoding", "gzip, deflate")),
    _encoded(
        "answer in the first of equals turned", ADD_SUB_TEXT, ("Accept-Encoding", "deflate, gzip")
    ),
    _encoded("answer by weights", ADD_SUB_TEXT, ("Accept-Encoding", "gzip;q=0.5, deflate;q=0.8")),
    _encoded("answer by weights with zero", ADD_SUB_TEXT, ("Accept-Encoding", "gzip;q=0, deflate")),
    _encoded(
        "answer by weights, all zero", ADD_SUB_TEXT, ("Accept-Encoding", "gzip;q=0, deflate;q=0")
    ),
    _encoded(
        "answer by weights, identity best",
        ADD_SUB_TEXT,
        ("Accept-Encoding", "gzip;q=0.5, identity;q=0.9"),
    ),
    _encoded("answer in any encoding", ADD_SUB_TEXT, ("Accept-Encoding", "*")),
    _encoded("answer in gzip in capitals", ADD_SUB_TEXT, ("Accept-Encoding", "GZIP")),
    _encoded(
        "body and answer in gzip", _GZIP, ("Content-Encoding", "gzip"), ("Accept-Encoding", "gzip")
    ),
    infer(
        "binary answer in gzip",
        "add_sub",
        {**ADD_SUB, "parameters": {"binary_data_output": True}},
        headers=(("Accept-Encoding", "gzip"),),
    ),
    infer("error with accept-encoding", "add_sub", "{", headers=(("Accept-Encoding", "gzip"),)),
)

TRANSPORT = (
    infer("in one chunk", "add_sub", b"", chunks=(ADD_SUB_TEXT,)),
    infer(
        "in many chunks",
        "add_sub",
        b"",
        chunks=tuple(ADD_SUB_TEXT[i : i + 7] for i in range(0, len(ADD_SUB_TEXT), 7)),
    ),
    infer(
        "in chunks, binary",
        "identity_int32",
        b"",
        header_length=len(_BINARY_JSON),
        chunks=(_BINARY_BODY[:50], _BINARY_BODY[50:104], _BINARY_BODY[104:]),
    ),
    infer("byte by byte", "add_sub", ADD_SUB_TEXT, split=1),
    infer("in pieces of 13", "add_sub", ADD_SUB_TEXT, split=13),
    infer(
        "binary in pieces of 3",
        "identity_int32",
        _BINARY_BODY,
        header_length=len(_BINARY_JSON),
        split=3,
    ),
    infer("expecting 100-continue", "add_sub", ADD_SUB_TEXT, headers=(("Expect", "100-continue"),)),
    WireRequest(
        name="with a query string",
        path="/v2/models/add_sub/infer?a=b&c",
        body=ADD_SUB_TEXT,
        model="add_sub",
    ),
    infer(
        "header names in capitals",
        "identity_int32",
        _BINARY_BODY,
        headers=(("INFERENCE-HEADER-CONTENT-LENGTH", str(len(_BINARY_JSON))),),
    ),
    infer(
        "content type of something else",
        "add_sub",
        ADD_SUB_TEXT,
        headers=(("Content-Type", "text/csv"),),
    ),
    WireRequest(
        name="two requests in one go",
        raw=infer("", "add_sub", ADD_SUB_TEXT).to_bytes() * 2,
        answers=2,
        model="add_sub",
    ),
    WireRequest(
        name="a good one behind a bad one",
        raw=infer("", "add_sub", "{").to_bytes() + infer("", "add_sub", ADD_SUB_TEXT).to_bytes(),
        answers=2,
        model="add_sub",
    ),
    WireRequest(
        name="health between inferences in one go",
        raw=infer("", "add_sub", ADD_SUB_TEXT).to_bytes()
        + b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
        + infer("", "add_sub", ADD_SUB_TEXT).to_bytes(),
        answers=3,
        model="add_sub",
    ),
    infer("connection to be closed", "add_sub", ADD_SUB_TEXT, headers=(("Connection", "close"),)),
    WireRequest(
        name="http 1.0",
        raw=b"POST /v2/models/add_sub/infer HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b"
        % (len(ADD_SUB_TEXT), ADD_SUB_TEXT),
        model="add_sub",
    ),
    WireRequest(
        name="http 1.0 kept alive",
        raw=b"POST /v2/models/add_sub/infer HTTP/1.0\r\nConnection: keep-alive\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(ADD_SUB_TEXT), ADD_SUB_TEXT),
        model="add_sub",
    ),
    WireRequest(
        name="absolute form of the target",
        path="http://localhost/v2/models/add_sub/infer",
        body=ADD_SUB_TEXT,
        model="add_sub",
    ),
)


FRAMING: tuple[WireRequest, ...] = (*BINARY, *RAW, *COMPRESSION, *TRANSPORT)
