"""Rows where the recorded answer is not, or not alone, the right one: the real Triton at hand is
2.51, and the behaviour followed is that of the newer line (2.73), as shared/spec tells it.

Three kinds: the newer line answers otherwise; the recorded server died or broke, and pyserver
must not; HTTP itself leaves room, and a refusal is as good as what the recorded server did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.wire.compare import differences, error_text
from tests.wire.exchange import CLOSED, Answer
from tests.wire.requests import WireRequest
from tests.wire.table_other_servers import LIMIT_BYTES, LIMITED
from tests.wire.table_refused import HEADER_LENGTH

_USE = "Use --http-max-input-size to increase the limit."


@dataclass(frozen=True, slots=True)
class Newer:
    """What is right instead of the recorded answer, and why.

    `statuses` are all that are right; `error` is the whole text, `contains` are texts of which
    one is in it; `like` names the row whose recorded answers are right here. With `or_recorded`
    the row's own recorded answer is right too.
    """

    reason: str
    statuses: tuple[int, ...] = ()
    error: str | None = None
    contains: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    or_recorded: bool = False

    def differences(
        self, row: WireRequest, answers: tuple[Answer, ...], recorded: Mapping[str, list[Answer]]
    ) -> list[str]:
        """As `compare.differences`; empty when the answers are right."""
        if self.or_recorded and len(recorded[row.name]) == len(answers):
            own = zip(recorded[row.name], answers, strict=True)
            if not any(differences(one, other, row.masked) for one, other in own):
                return []
        if self.like:
            wanted = [recorded[name][0] for name in self.like]
            if len(wanted) != len(answers):
                return [f"wanted {len(wanted)} answers, got {[a.status for a in answers]}"]
            pairs = zip(wanted, answers, strict=True)
            return [difference for one, other in pairs for difference in differences(one, other)]
        return self._refusal_differences(answers[0])

    def _refusal_differences(self, answer: Answer) -> list[str]:
        text = error_text(answer)
        if answer.status not in self.statuses:
            return [f"status: wanted one of {self.statuses}, got {answer.status} {text!r}"]
        if self.error is not None and text != self.error:
            return [f"error: wanted {self.error!r}, got {text!r}"]
        if self.contains and not any(part in (text or "") for part in self.contains):
            return [f"error: wanted one of {self.contains} in it, got {text!r}"]
        return []


def _same(names: tuple[str, ...], newer: Newer) -> dict[str, Newer]:
    return dict.fromkeys(names, newer)


def _json_size(name: str) -> str:
    size = next(len(row.body) for row in LIMITED if row.name == name)
    return (
        f"request JSON size of {size} bytes exceeds the maximum allowed input size of "
        f"{LIMIT_BYTES} bytes. {_USE}"
    )


def _json_input(byte_size: int, limit: int) -> str:
    return (
        f"JSON input 'INPUT0' has a byte_size ({byte_size} bytes) that exceeds the maximum allowed "
        f"value of {limit} bytes. {_USE}"
    )


_LIMIT_REASON = "--http-max-input-size is newer than the recorded server"
_LIMITS: dict[str, Newer] = {
    **{
        name: Newer(_LIMIT_REASON, (400,), _json_size(name))
        for name in ("limit json body above", "limit json of spaces", "limit exceeded by one")
    },
    "limit json tensor grows above": Newer(_LIMIT_REASON, (400,), _json_input(4800, LIMIT_BYTES)),
    "limit shape beyond and few data": Newer(
        _LIMIT_REASON, (400,), _json_input(80_000, LIMIT_BYTES)
    ),
    "limit raw above": Newer(
        _LIMIT_REASON,
        (400,),
        f"Raw input has a byte_size ({LIMIT_BYTES + 8} bytes) that exceeds the maximum allowed "
        f"value of {LIMIT_BYTES} bytes. {_USE}",
    ),
    **_same(
        (
            "limit after decompression",
            "limit raw after decompression",
            "limit binary after decompression",
            "limit in chunks",
        ),
        Newer(f"{_LIMIT_REASON}; the sentence differs by path", (400,), contains=(_USE,)),
    ),
    "line of an http2 client": Newer(
        "one port serves both versions of HTTP: after the preface its settings are awaited",
        (-1,),
    ),
    "limit binary above": Newer(
        "the four sentences of the limit are about JSON, raw and decompressed bodies; tensors in "
        "binary are bounded by shared memory alone",
        (200,),
    ),
    "limit binary size beyond": Newer(_LIMIT_REASON, (400,), contains=(_USE,), or_recorded=True),
}

_DEPTH = Newer(
    "nesting is limited to 100 now; the recorded server takes 1,000 and dies of 100,000",
    (400, 500),
    contains=("JSON nesting depth exceeds maximum allowed limit (100)",),
)
_OVERFLOW = "the product of a shape is checked now; the recorded server wraps around, or dies"
_COUNT_OVERFLOW = Newer(
    _OVERFLOW,
    (400,),
    contains=("causes total element count to exceed maximum size of 9223372036854775807",),
)
_TOO_FEW = Newer(
    "too few numbers have a text of their own now",
    (500,),
    error="Failed to parse 'data' field: shape does not match true shape",
    or_recorded=True,
)
_NO_REGIONS = Newer(
    "client shared memory is off by default since 26.04",
    (501,),
    "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable.",
)


def _bad_header_length(name: str) -> Newer:
    row = next(row for row in HEADER_LENGTH if row.name == name)
    return Newer(
        "a value that is no number is refused now; the recorded server takes what atoi makes of it",
        (400,),
        f"Unable to parse Inference-Header-Content-Length, got: {row.headers[-1][1]}",
        or_recorded=True,
    )


_HEADER_LENGTHS = {
    name: _bad_header_length(name)
    for name in (
        "header length of words",
        "header length empty",
        "header length decimal",
        "header length with junk",
        "header length hexadecimal",
    )
}

_CHANGED: dict[str, Newer] = {
    **_LIMITS,
    **_HEADER_LENGTHS,
    **_same(
        (
            "depth 101 in data",
            "depth 1,000 in data",
            "depth 100,000 in data",
            "depth 100,000 of objects",
            "depth 101 in an unknown member",
        ),
        _DEPTH,
    ),
    "depth 100,000 and no end": Newer(_DEPTH.reason, (400, 500), or_recorded=True),
    **_same(("shape product overflows", "shape product overflows to zero"), _COUNT_OVERFLOW),
    "shape overflows before a zero": Newer(_OVERFLOW, (400,), or_recorded=True),
    "shape bytes overflow": Newer(
        _OVERFLOW, (400,), contains=("byte size overflow for input 'INPUT0'",)
    ),
    "shape beyond int64": Newer(_OVERFLOW, (400, 500), or_recorded=True),
    "shape huge and no such data": Newer(
        "the recorded server allocates first and dies", (400,), _json_input(4 * 10**12, 64 * 2**20)
    ),
    **_same(
        (
            "data too few",
            "data none",
            "data too few floats",
            "data too few booleans",
            "data second input too short",
        ),
        _TOO_FEW,
    ),
    "data too many strings": Newer(
        "strings are counted while they are read now",
        (500,),
        "Unable to parse 'data': shape does not match true shape of 'data' field",
        or_recorded=True,
    ),
    **_same(
        ("data too few strings", "data no strings"),
        Newer(_TOO_FEW.reason, (500,), _TOO_FEW.error, or_recorded=True),
    ),
    "output twice": Newer(
        "duplicate outputs are refused now",
        (400,),
        "[request id: <id_unknown>] output 'OUTPUT0' already exists in request",
    ),
    "index of words": Newer(
        "has its own text now", (400,), "Invalid value for 'ready': expected a boolean"
    ),
    **_same(("system region register", "system region unregister unknown"), _NO_REGIONS),
    "chunk flood": Newer(
        "the number of chunks is limited now",
        (400,),
        "Chunked request body exceeds maximum of 65536 non-empty chunks. "
        "Send fewer or larger HTTP chunks.",
    ),
    "json batch of zero": Newer(
        "spec 1.6 accepts a batch of zero; the recorded server wants the bytes of one row",
        (200,),
        or_recorded=True,
    ),
    "body with an empty encoding": Newer(
        "an empty encoding is identity (spec 1.5)", like=("json integers for floats",)
    ),
}

_GOOD = "json integers for floats"
_BROKEN: dict[str, Newer] = {
    "classification of strings": Newer(
        "the recorded server dies",
        (400,),
        "class result not available for output due to unsupported type 'BYTES'",
    ),
    **_same(
        ("byte by byte", "in pieces of 13"),
        Newer("the recorded server loses the path when it comes in pieces", like=(_GOOD,)),
    ),
    "binary in pieces of 3": Newer(
        "the recorded server loses the path when it comes in pieces",
        like=("header names in capitals",),
    ),
    "health between inferences in one go": Newer(
        "the recorded server forgets the third of three pipelined requests",
        like=(_GOOD, "live", _GOOD),
    ),
    "inputs only optional ones": Newer(
        "only the number of inputs is checked there, so the model meets the missing one",
        (400,),
        contains=("missing required input(s) ['INPUT0']",),
        or_recorded=True,
    ),
}

_ORDER = "of two wrong inputs the recorded server names the one its hash table has first"
_REFUSAL = (CLOSED, 400)
_ROOM: dict[str, Newer] = {
    **_same(
        (
            "content length twice the same",
            "content length twice different",
            "content length empty",
            "content length beside chunks",
            "transfer encoding unknown",
            "transfer encoding chunked not last",
            "line version 2",
            "line version 9.9",
            "header with a blank before the colon",
            "header with a null byte",
            "header length with a plus",
            "header length beside blanks",
            "header length beyond int32",
            "header length twice",
            "header without a name",
            "line with bytes above ASCII",
            "line without a version",
        ),
        Newer("a stricter HTTP parser refuses it", (*_REFUSAL, 501, 505), or_recorded=True),
    ),
    **_same(
        (
            "gzip that is none",
            "gzip cut in the middle",
            "gzip without its check sum",
            "gzip with a wrong check sum",
            "gzip with junk behind",
            "gzip of two members",
            "gzip of nothing",
            "gzip said, deflate sent",
            "deflate said, gzip sent",
            "deflate without its wrapper",
        ),
        Newer("a broken compressed body may be refused outright", (400,), or_recorded=True),
    ),
    **_same(
        (
            "syntax null byte behind",
            "syntax null byte and junk behind",
            "syntax bytes that are not UTF-8",
            "syntax low surrogate alone",
            "syntax byte order mark",
        ),
        Newer(
            "a stricter JSON parser refuses it",
            (500,),
            contains=("failed to parse the request JSON buffer: ",),
            or_recorded=True,
        ),
    ),
    **_same(
        (
            "chunk with an extension",
            "header of 20,000 bytes",
            "header continued on the next line",
            "line ends without carriage returns",
            "line empty before the request",
            "headers, 1,000 of them",
        ),
        Newer("HTTP allows it; the recorded server hangs up", (200, CLOSED, 400, 431)),
    ),
    **_same(
        ("batch sizes differ", "batch sizes differ, first smaller"),
        Newer(_ORDER, (400,), contains=("batch size does not match other inputs for 'add_sub'",)),
    ),
    **_same(
        ("batch dimension to a model without", "rank zero without batching"),
        Newer(_ORDER, (400,), contains=("] unexpected shape for input 'INPUT",)),
    ),
    "expecting something else": Newer("RFC 9110 allows 417", (417,), or_recorded=True),
    "line method unknown": Newer(
        "an unknown method may end in the parser", (CLOSED, 400, 405, 501), or_recorded=True
    ),
}

NEWER: dict[str, Newer] = {**_CHANGED, **_BROKEN, **_ROOM}
