"""Requests to servers that were started differently: one with a low input limit, one whose models
do not load.
"""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np

from tests.wire.requests import WireRequest, get, infer, post, tensor

LIMIT_BYTES = 2048


def _uint8(name: str, count: int, *, binary: bool = False, **fields: Any) -> WireRequest:
    """An identity request of `count` bytes, as numbers or as they are."""
    if binary:
        request = {"inputs": [tensor("INPUT0", "UINT8", [1, count], binary_data_size=count)]}
        return infer(name, "small_uint8", request, binary=b"\1" * count, server="limited", **fields)
    request = {"inputs": [tensor("INPUT0", "UINT8", [1, count], [1] * count)]}
    return infer(name, "small_uint8", request, server="limited", **fields)


def _limited(name: str, body: Any, **fields: Any) -> WireRequest:
    return infer(name, "small_fp64", body, server="limited", **fields)


_JSON_600 = b'{"inputs":[{"name":"INPUT0","datatype":"FP64","shape":[1,600],"data":[%b]}]}' % (
    b",".join([b"1"] * 600)
)
_JSON_ZEROS = b'{"inputs":[{"name":"INPUT0","datatype":"FP64","shape":[1,2],"data":[1,2]}]}'

LIMITED = (
    _uint8("limit json below", 100),
    _uint8("limit json body above", 3000),
    _uint8("limit binary below", 1500, binary=True),
    _uint8("limit binary above", 5000, binary=True),
    _limited("limit json tensor grows above", _JSON_600),
    _limited("limit json of spaces", _JSON_ZEROS + b" " * LIMIT_BYTES),
    _limited("limit exactly reached", _JSON_ZEROS + b" " * (LIMIT_BYTES - len(_JSON_ZEROS))),
    _limited("limit exceeded by one", _JSON_ZEROS + b" " * (LIMIT_BYTES + 1 - len(_JSON_ZEROS))),
    _limited("limit raw below", np.zeros(8).tobytes(), header_length=0),
    _limited("limit raw above", bytes(LIMIT_BYTES + 8), header_length=0),
    _limited(
        "limit after decompression",
        gzip.compress(_JSON_ZEROS + b" " * 100_000, mtime=0),
        headers=(("Content-Encoding", "gzip"),),
    ),
    _limited(
        "limit raw after decompression",
        gzip.compress(bytes(100_000), mtime=0),
        header_length=0,
        headers=(("Content-Encoding", "gzip"),),
    ),
    _limited(
        "limit binary after decompression",
        gzip.compress(
            b'{"inputs":[{"name":"INPUT0","datatype":"FP64","shape":[1,2],'
            b'"parameters":{"binary_data_size":16}}]}' + bytes(100_000),
            mtime=0,
        ),
        header_length=103,
        headers=(("Content-Encoding", "gzip"),),
    ),
    _limited("limit in chunks", b"", chunks=(_JSON_ZEROS, b" " * LIMIT_BYTES)),
    _limited("limit small chunks", b"", chunks=(_JSON_ZEROS[:20], _JSON_ZEROS[20:])),
    _limited(
        "limit shape beyond and few data", {"inputs": [tensor("INPUT0", "FP64", [1, 10000], [1])]}
    ),
    _limited(
        "limit binary size beyond",
        {"inputs": [tensor("INPUT0", "FP64", [1, 10000], binary_data_size=80000)]},
        binary=bytes(8),
    ),
    get("limit other endpoints live", "/v2/health/live", server="limited"),
)


def _broken(name: str, path: str) -> WireRequest:
    return get(name, path, server="broken")


BROKEN = (
    _broken("broken live", "/v2/health/live"),
    _broken("broken ready", "/v2/health/ready"),
    _broken("broken model ready", "/v2/models/raises/ready"),
    _broken("broken model version ready", "/v2/models/raises/versions/1/ready"),
    _broken("broken model metadata", "/v2/models/raises"),
    _broken("broken model version metadata", "/v2/models/raises/versions/1"),
    _broken("broken model config", "/v2/models/raises/config"),
    _broken("broken model stats", "/v2/models/raises/stats"),
    _broken("broken sibling ready", "/v2/models/works/ready"),
    _broken("broken sibling metadata", "/v2/models/works"),
    _broken("broken stats of all", "/v2/models/stats"),
    *(
        infer(
            f"broken infer of {model}",
            model,
            {"inputs": [tensor("INPUT0", "INT32", [1], [1])]},
            server="broken",
        )
        for model in ("raises", "works", "no_version", "bad_config", "not_a_folder")
    ),
    infer(
        "broken infer of a version",
        "raises",
        {"inputs": [tensor("INPUT0", "INT32", [1], [1])]},
        version="1",
        server="broken",
    ),
    post("broken index", "/v2/repository/index", server="broken"),
    post("broken index of the ready", "/v2/repository/index", b'{"ready":true}', server="broken"),
)

OTHER_SERVERS: tuple[WireRequest, ...] = (*LIMITED, *BROKEN)
