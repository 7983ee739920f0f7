"""One HTTP request of the table as data, and the short forms that the tables are written in.

The table is sent byte by byte over a bare socket, first to the real Triton
(tests/oracle/record.py), later to pyserver (test_http_table.py), so nothing here may depend on a
client library's taste.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class WireRequest:
    """Bytes to send and what to expect to be able to compare.

    `body` goes out with a Content-Length unless `headers` has one or `chunks` is given, which goes
    out with chunked framing instead. `raw` replaces everything. `split` sends the bytes in pieces
    of that many with a pause between; after the last one `ends` shuts the sending side down, for
    rows that leave the server waiting for more. `answers` is how many answers follow on the one
    connection. `masked` names the JSON members whose values differ from run to run; only their
    types are compared. `server` says which of the servers of `SERVERS` is asked.
    """

    name: str
    method: str = "POST"
    path: str = "/"
    headers: Headers = ()
    body: bytes = b""
    model: str = ""
    chunks: tuple[bytes, ...] | None = None
    raw: bytes | None = None
    split: int = 0
    answers: int = 1
    ends: bool = False
    masked: tuple[str, ...] = ()
    server: str = "main"

    def to_bytes(self) -> bytes:
        """Everything that goes through the socket."""
        if self.raw is not None:
            return self.raw
        given = {name.lower() for name, _ in self.headers}
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.chunks is not None:
            lines.append("Transfer-Encoding: chunked")
        elif "content-length" not in given and (self.body or self.method == "POST"):
            lines.append(f"Content-Length: {len(self.body)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if self.chunks is None:
            return head + self.body
        framed = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in self.chunks if chunk]
        return head + b"".join(framed) + b"0\r\n\r\n"


def tensor(
    name: str,
    datatype: str,
    shape: Sequence[Any],
    data: Any = None,
    **parameters: Any,
) -> dict[str, Any]:
    """An input of an inference request; without `data` or `parameters` those are missing."""
    made: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(shape)}
    if parameters:
        made["parameters"] = parameters
    if data is not None:
        made["data"] = data
    return made


def infer(
    name: str,
    model: str,
    request: Mapping[str, Any] | str | bytes,
    *,
    binary: bytes | None = None,
    header_length: int | str | None = None,
    headers: Headers = (),
    version: str = "",
    **fields: Any,
) -> WireRequest:
    """A POST to the model's infer endpoint.

    `request` is the JSON part, as text where its very characters matter. With `binary` the body
    goes on with those bytes and Inference-Header-Content-Length tells the JSON part's size, or
    says `header_length` instead.
    """
    if isinstance(request, bytes):
        text = request
    elif isinstance(request, str):
        text = request.encode()
    else:
        text = json.dumps(request, separators=(",", ":")).encode()
    if binary is not None and header_length is None:
        header_length = len(text)
    if header_length is not None:
        headers = (*headers, ("Inference-Header-Content-Length", str(header_length)))
    path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
    return WireRequest(
        name=name, path=path, headers=headers, body=text + (binary or b""), model=model, **fields
    )


def get(name: str, path: str, **fields: Any) -> WireRequest:
    """A GET without a body."""
    return WireRequest(name=name, method="GET", path=path, **fields)


def post(name: str, path: str, body: bytes = b"", **fields: Any) -> WireRequest:
    """A POST to something other than an infer endpoint."""
    return WireRequest(name=name, path=path, body=body, **fields)


def strings(*values: bytes) -> bytes:
    """BYTES elements as they travel: each with its length in front, 4 bytes little-endian."""
    return b"".join(len(value).to_bytes(4, "little") + value for value in values)
