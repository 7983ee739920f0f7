"""Rows where the recorded answer is not, or not alone, the right one.

The real Triton at hand is 2.51, and the behaviour followed is that of the newer line (2.73), as
shared/spec tells it. Four kinds: the newer line answers otherwise; it says of strict streams what
the recorded one does not do; the recorded server died or broke, and pyserver must not; pyserver
knowingly differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.wire_grpc.compare import details, differences, message_differences, messages
from tests.wire_grpc.requests import GrpcRequest

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Newer:
    """What is right instead of the recorded answer, and why.

    `codes` are all status codes that are right; `text` is the whole of the details, `contains` are
    texts of which one is in them; `messages` are the messages, as `compare.meaning` has them;
    `like` names the row whose recorded answer is right here. With `or_recorded` the row's own
    recorded answer is right too.
    """

    reason: str
    codes: tuple[str, ...] = ()
    text: str | None = None
    contains: tuple[str, ...] = ()
    messages: Sequence[Any] | None = None
    like: str = ""
    or_recorded: bool = False

    def differences(
        self, request: GrpcRequest, got: Record, recorded: Mapping[str, Record]
    ) -> list[str]:
        """As `compare.differences`; empty when the answer is right."""
        if self.or_recorded and not differences(request, recorded[request.name], got):
            return []
        if self.like:
            return differences(request, recorded[self.like], got)
        if got["code"] not in self.codes:
            return [f"code: wanted one of {self.codes}, got {got['code']} {details(got)!r}"]
        if self.text is not None and details(got) != self.text:
            return [f"details: wanted {self.text!r}, got {details(got)!r}"]
        if self.contains and not any(part in details(got) for part in self.contains):
            return [f"details: wanted one of {self.contains} in it, got {details(got)!r}"]
        if self.messages is None:
            return []
        return message_differences(request, self.messages, messages(got))


def _same(names: Iterable[str], newer: Newer) -> dict[str, Newer]:
    return dict.fromkeys(names, newer)


def _shapes(*hows: str) -> tuple[str, ...]:
    """The three rows that there are of each shape."""
    return tuple(f"shape {how}, {data}" for how in hows for data in ("typed", "raw", "no bytes"))


_CHANGED: dict[str, Newer] = {
    **_same(
        (
            "system region register",
            "system region unregister unknown",
            "System register nothing",
            "System register without an object",
            "System unregister all",
            "Cuda register nothing",
            "Cuda register without an object",
            "Cuda unregister unknown",
            "Cuda unregister all",
        ),
        Newer(
            "client shared memory is off by default since 26.04",
            ("UNIMPLEMENTED",),
            "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to "
            "enable.",
        ),
    ),
    **_same(
        ("output twice", "outputs three times the same"),
        Newer(
            "duplicate outputs are refused now",
            ("INVALID_ARGUMENT",),
            "[request id: <id_unknown>] output 'OUTPUT0' already exists in request",
        ),
    ),
    **_same(
        (
            "shape product overflows",
            "shape product overflows to zero",
            "shape bytes overflow",
            "shape overflows before a zero",
            *_shapes("product beyond 64 bits", "product zero in 64 bits"),
            *_shapes("largest", "bytes beyond 64 bits"),
            *_shapes("product overflows before a zero"),
        ),
        Newer(
            "the product of a shape is checked now; the recorded server wraps around, or its model "
            "dies",
            ("INVALID_ARGUMENT",),
            contains=(
                "causes total element count to exceed maximum size of 9223372036854775807",
                "byte size overflow for input 'INPUT0'",
                "inference request batch-size must be <= 8 for 'identity_int32'",
            ),
        ),
    ),
    **_same(
        ("trace settings of an unknown model", "trace change of an unknown model"),
        Newer("spec 2.5: the refusal gets lost on the way", ("OK",), messages=[{}]),
    ),
    "explicit load of no name": Newer(
        "blank names have a text of their own now",
        ("INVALID_ARGUMENT",),
        "Model name cannot be empty. Please enter a valid name to deploy.",
    ),
    "explicit load of dots": Newer(
        "names that lead elsewhere have a text of their own now",
        ("INVALID_ARGUMENT",),
        "invalid model name '../works', model name must not contain path traversal characters",
    ),
    **_same(
        ("explicit load, config no json", "explicit load, config empty"),
        Newer(
            "a bad config has a text of its own now (spec 1.11)",
            ("INVALID_ARGUMENT",),
            contains=("Invalid config override: ",),
        ),
    ),
    "explicit load, file without config": Newer(
        "files without a config have a text of their own now (spec 1.11)",
        ("INVALID_ARGUMENT",),
        "Load parameter 'config' must be specified for model file override",
    ),
}

_STRICT = (
    "spec 2.6: the first error ends a strict stream; the recorded server tells those within the "
    "stream that it finds before a request is queued"
)
_REFUSED_EARLY: dict[str, Newer] = {
    **_same(
        ("stream strict, unknown model", "stream strict, bad after good in lockstep"),
        Newer(_STRICT, ("NOT_FOUND",), "Request for unknown model: 'no_such_model' is not found"),
    ),
    "stream strict, unknown version": Newer(
        _STRICT, ("NOT_FOUND",), "Request for unknown model: 'add_sub' version 7 is not found"
    ),
    "stream strict, inputs missing": Newer(
        _STRICT,
        ("INVALID_ARGUMENT",),
        contains=("[request id: none] expected 2 inputs but got 0 inputs for model 'add_sub'.",),
    ),
}

_BROKEN: dict[str, Newer] = {
    "classification of strings": Newer(
        "the recorded server dies",
        ("INVALID_ARGUMENT",),
        "class result not available for output due to unsupported type 'BYTES'",
    ),
    **_same(
        ("shape zero batch, typed", "shape zero batch, raw"),
        Newer(
            "the recorded server's model dies",
            ("INVALID_ARGUMENT",),
            "[request id: <id_unknown>] input byte size mismatch for input 'INPUT0' for model "
            "'identity_int32'. Expected 0, got 8",
        ),
    ),
    "shape all zero, no bytes": Newer("the recorded server hangs", ("OK",)),
    "inputs only optional ones": Newer(
        "only the number of inputs is checked there, so the model meets the missing one",
        ("INVALID_ARGUMENT",),
        contains=("missing required input(s) ['INPUT0']",),
        or_recorded=True,
    ),
    "inputs 2,000 unknown": Newer(
        "the recorded server lists all of them, in more bytes than a client takes",
        ("INVALID_ARGUMENT",),
        "expected at most 2 inputs but got 2000 inputs for model 'add_sub'",
    ),
}

_PARSE = "Unable to parse request"
_SILENT = (
    "the recorded server takes a message that is none for the end of the stream; pyserver tells "
    "the client"
)


def _told(request_id: str = "") -> dict[str, Any]:
    return {"error_message": _PARSE, "infer_response": {"id": request_id} if request_id else {}}


_OURS: dict[str, Newer] = {
    **_same(
        (
            "shape negative",
            "shape beyond int64",
            *_shapes("negative", "negative batch", "both negative", "smallest"),
        ),
        Newer(
            "a negative dimension is named; the recorded server does so for -1 alone, and counts "
            "bytes with the others",
            ("INVALID_ARGUMENT",),
            contains=("All input dimensions should be specified for input 'INPUT0'",),
        ),
    ),
    **_same(
        _shapes("of 1,000 dimensions"),
        Newer(
            "more dimensions than any model can have are counted, not listed",
            ("INVALID_ARGUMENT",),
            "the shape of input 'INPUT0' for model 'identity_int32' has 1000 dimensions; at most "
            "64 are supported",
        ),
    ),
    "outputs 2,000 unknown": Newer(
        "far more outputs than the model has are counted, not looked at",
        ("INVALID_ARGUMENT",),
        "expected at most 2 outputs but got 2000 outputs for model 'add_sub'",
    ),
    "model name with a null byte": Newer(
        "the recorded server's texts end at a null byte",
        ("NOT_FOUND",),
        "Request for unknown model: 'add\0sub' is not found",
    ),
    "request id with a null byte": Newer("the recorded server's texts end at a null byte", ("OK",)),
    "sequence_id empty text": Newer(
        "an empty correlation id is none, for Triton's schedulers too; pyserver's models see it as "
        "the number 0",
        ("OK",),
    ),
    "classes beyond int32": Newer(
        "the recorded server cuts the number to 32 bits, which leaves 0 classes",
        like="classes all",
    ),
    "unary with two messages": Newer(
        "gRPC calls this UNIMPLEMENTED; the recorded server overlooks the second message",
        ("UNIMPLEMENTED",),
        or_recorded=True,
    ),
    **_same(
        ("stream of broken bytes", "stream of a name not UTF-8"),
        Newer(_SILENT, ("OK",), messages=[_told()]),
    ),
    "stream broken inside an input": Newer(_SILENT, ("OK",), messages=[_told("b")]),
    "stream broken after a good one in lockstep": Newer(_SILENT, ("OK",)),
    "stream strict of broken bytes": Newer(_SILENT, ("INTERNAL",), _PARSE),
}

NEWER: dict[str, Newer] = {**_CHANGED, **_REFUSED_EARLY, **_BROKEN, **_OURS}
