"""Requests whose HTTP itself is broken or refused: lengths, chunks, encodings, request lines,
headers.
"""

from __future__ import annotations

import gzip
import zlib

from tests.wire.requests import WireRequest, infer, tensor
from tests.wire.table_json import ADD_SUB_TEXT

_PATH = b"/v2/models/add_sub/infer"
_GZIP = gzip.compress(ADD_SUB_TEXT, mtime=0)


# Rows that leave a server waiting for more.
_ENDING = frozenset(
    {
        "content length too long and end of input",
        "chunk size beyond int64",
        "chunk size huge",
        "chunk cut by the end of input",
        "chunk last one missing",
        "line without a version",
        "line empty before the request",
    }
)


def _raw(
    name: str, *lines: bytes, body: bytes = ADD_SUB_TEXT, model: str = "add_sub"
) -> WireRequest:
    """A request written line by line."""
    raw = b"\r\n".join(lines) + b"\r\n\r\n" + body
    return WireRequest(name=name, raw=raw, model=model, ends=name in _ENDING)


def _length(name: str, *values: bytes, body: bytes = ADD_SUB_TEXT) -> WireRequest:
    lengths = [b"Content-Length: " + value for value in values]
    return _raw(name, b"POST " + _PATH + b" HTTP/1.1", b"Host: localhost", *lengths, body=body)


def _chunked(name: str, body: bytes, *headers: bytes) -> WireRequest:
    return _raw(
        name,
        b"POST " + _PATH + b" HTTP/1.1",
        b"Host: localhost",
        b"Transfer-Encoding: chunked",
        *headers,
        body=body,
    )


def _encoding(name: str, encoding: str, body: bytes = ADD_SUB_TEXT) -> WireRequest:
    return infer(name, "add_sub", body, headers=(("Content-Encoding", encoding),))


_SIZE = b"%x" % len(ADD_SUB_TEXT)
_LENGTH = str(len(ADD_SUB_TEXT)).encode()

LENGTHS = (
    _length("content length of words", b"abc"),
    _length("content length negative", b"-1"),
    _length("content length empty", b""),
    _length("content length with a plus", b"+" + _LENGTH),
    _length("content length with junk", _LENGTH + b"x"),
    _length("content length hexadecimal", b"0x10"),
    _length("content length decimal", _LENGTH + b".0"),
    _length("content length beyond int64", b"99999999999999999999"),
    _length("content length twice the same", _LENGTH, _LENGTH),
    _length("content length twice different", _LENGTH, b"5"),
    _length("content length list", _LENGTH + b", " + _LENGTH),
    _length("content length missing"),
    _length("content length zero", b"0", body=b""),
    _length("content length too long and end of input", b"5000"),
    _length("content length too short", b"20"),
    _raw(
        "content length beside chunks",
        b"POST " + _PATH + b" HTTP/1.1",
        b"Host: localhost",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        body=_SIZE + b"\r\n" + ADD_SUB_TEXT + b"\r\n0\r\n\r\n",
    ),
)

CHUNKS = (
    _chunked("chunk size of words", b"xyz\r\n" + ADD_SUB_TEXT + b"\r\n0\r\n\r\n"),
    _chunked("chunk size empty", b"\r\n" + ADD_SUB_TEXT + b"\r\n0\r\n\r\n"),
    _chunked("chunk size negative", b"-5\r\n" + ADD_SUB_TEXT + b"\r\n0\r\n\r\n"),
    _chunked("chunk size with 0x", b"0x" + _SIZE + b"\r\n" + ADD_SUB_TEXT + b"\r\n0\r\n\r\n"),
    _chunked(
        "chunk size beyond int64", b"ffffffffffffffffff\r\n" + ADD_SUB_TEXT + b"\r\n0\r\n\r\n"
    ),
    _chunked("chunk size huge", b"7fffffffffffffff\r\n" + ADD_SUB_TEXT),
    _chunked("chunk longer than its size", b"5\r\n" + ADD_SUB_TEXT + b"\r\n0\r\n\r\n"),
    _chunked("chunk without a line end", _SIZE + b"\r\n" + ADD_SUB_TEXT + b"0\r\n\r\n"),
    _chunked("chunk cut by the end of input", _SIZE + b"\r\n" + ADD_SUB_TEXT[:20]),
    _chunked("chunk last one missing", _SIZE + b"\r\n" + ADD_SUB_TEXT + b"\r\n"),
    _chunked("chunks none", b"0\r\n\r\n"),
    _chunked(
        "chunk with an extension",
        _SIZE + b";name=value\r\n" + ADD_SUB_TEXT + b"\r\n0\r\n\r\n",
    ),
    _chunked(
        "chunks with a trailer", _SIZE + b"\r\n" + ADD_SUB_TEXT + b"\r\n0\r\nX-After: 1\r\n\r\n"
    ),
    _raw(
        "transfer encoding unknown",
        b"POST " + _PATH + b" HTTP/1.1",
        b"Host: localhost",
        b"Transfer-Encoding: pigeon",
    ),
    _raw(
        "transfer encoding chunked not last",
        b"POST " + _PATH + b" HTTP/1.1",
        b"Host: localhost",
        b"Transfer-Encoding: chunked, gzip",
        body=_SIZE + b"\r\n" + ADD_SUB_TEXT + b"\r\n0\r\n\r\n",
    ),
    infer("chunk flood", "add_sub", b"", chunks=(b" ",) * 65537),
    infer(
        "chunks as many as allowed",
        "identity_int32",
        b"",
        chunks=(
            b'{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[1,1],"data":[1]}]}',
            *((b" ",) * 65535),
        ),
    ),
)

ENCODINGS = (
    _encoding("encoding unknown", "br"),
    _encoding("encoding in capitals", "GZIP", _GZIP),
    _encoding("encoding x-gzip", "x-gzip", _GZIP),
    _encoding("encoding two of them", "gzip, deflate", _GZIP),
    _encoding("encoding unknown to an unknown body", "zstd", b"\x28\xb5\x2f\xfd"),
    _encoding("gzip that is none", "gzip"),
    _encoding("gzip of an empty body", "gzip", b""),
    _encoding("gzip cut in the middle", "gzip", _GZIP[: len(_GZIP) // 2]),
    _encoding("gzip without its check sum", "gzip", _GZIP[:-8]),
    _encoding("gzip with a wrong check sum", "gzip", _GZIP[:-8] + b"\0" * 8),
    _encoding("gzip with junk behind", "gzip", _GZIP + b"junk"),
    _encoding(
        "gzip of two members",
        "gzip",
        gzip.compress(ADD_SUB_TEXT[:50], mtime=0) + gzip.compress(ADD_SUB_TEXT[50:], mtime=0),
    ),
    _encoding("gzip of nothing", "gzip", gzip.compress(b"", mtime=0)),
    _encoding("gzip said, deflate sent", "gzip", zlib.compress(ADD_SUB_TEXT)),
    _encoding("deflate said, gzip sent", "deflate", _GZIP),
    _encoding("deflate without its wrapper", "deflate", zlib.compress(ADD_SUB_TEXT)[2:-4]),
    infer(
        "gzip to an unknown model",
        "no_such_model",
        b"none",
        headers=(("Content-Encoding", "gzip"),),
    ),
    infer(
        "gzip and a header length beyond",
        "add_sub",
        _GZIP,
        header_length=100000,
        headers=(("Content-Encoding", "gzip"),),
    ),
)


def _line(name: str, line: bytes, *headers: bytes, body: bytes = b"") -> WireRequest:
    return _raw(name, line, *headers, body=body)


LINES = (
    _line("line method unknown", b"BREW /v2 HTTP/1.1", b"Host: localhost"),
    _line("line method in small letters", b"get /v2 HTTP/1.1", b"Host: localhost"),
    _line("line without a version", b"GET /v2"),
    _line("line version 2", b"GET /v2/health/live HTTP/2.0", b"Host: localhost"),
    _line("line version 9.9", b"GET /v2/health/live HTTP/9.9", b"Host: localhost"),
    _line("line version of words", b"GET /v2/health/live HTTP/one", b"Host: localhost"),
    _line("line protocol of another name", b"GET /v2/health/live HTPP/1.1", b"Host: localhost"),
    _line("line with a blank in the path", b"GET /v2/health /live HTTP/1.1", b"Host: localhost"),
    _line("line without a path", b"GET HTTP/1.1", b"Host: localhost"),
    _line("line of junk", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    _line(
        "line empty before the request", b"", b"GET /v2/health/live HTTP/1.1", b"Host: localhost"
    ),
    _line("line with bytes above ASCII", b"GET /v2/models/\xff\xfe HTTP/1.1", b"Host: localhost"),
    _line("line of 100,000 bytes", b"GET /v2/" + b"a" * 100_000 + b" HTTP/1.1", b"Host: localhost"),
    _line("line of an http2 client", b"PRI * HTTP/2.0", b"", b"SM"),
    _line("host missing", b"GET /v2/health/live HTTP/1.1"),
    _line("header without a colon", b"GET /v2/health/live HTTP/1.1", b"Host localhost"),
    _line(
        "header with a blank before the colon", b"GET /v2/health/live HTTP/1.1", b"Host : localhost"
    ),
    _line("header without a name", b"GET /v2/health/live HTTP/1.1", b": value"),
    _line("header continued on the next line", b"GET /v2/health/live HTTP/1.1", b"X-A: 1", b"  2"),
    _line("header with a null byte", b"GET /v2/health/live HTTP/1.1", b"X-A: a\0b"),
    _line("header with bytes above ASCII", b"GET /v2/health/live HTTP/1.1", b"X-A: \xff\xfe"),
    _line("header of 20,000 bytes", b"GET /v2/health/live HTTP/1.1", b"X-A: " + b"a" * 20_000),
    _line(
        "header of a million bytes", b"GET /v2/health/live HTTP/1.1", b"X-A: " + b"a" * 1_000_000
    ),
    _line(
        "headers, 1,000 of them",
        b"GET /v2/health/live HTTP/1.1",
        *[b"X-%d: 1" % i for i in range(1000)],
    ),
    WireRequest(
        name="line ends without carriage returns",
        raw=b"GET /v2/health/live HTTP/1.1\nHost: localhost\n\n",
    ),
    WireRequest(name="nothing at all and end of input", raw=b"", ends=True),
    WireRequest(name="half a request line and end of input", raw=b"POST /v2/mod", ends=True),
    infer("expecting something else", "add_sub", ADD_SUB_TEXT, headers=(("Expect", "a miracle"),)),
    infer(
        "upgrade to http2",
        "add_sub",
        ADD_SUB_TEXT,
        headers=(
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", ""),
        ),
    ),
    infer(
        "header length twice",
        "add_sub",
        {"inputs": [tensor("INPUT0", "FP32", [1, 1], [1])]},
        headers=(("Inference-Header-Content-Length", "5"),),
        header_length=7,
    ),
)

BAD_TRANSPORT: tuple[WireRequest, ...] = (*LENGTHS, *CHUNKS, *ENCODINGS, *LINES)
