"""The whole table of calls: the HTTP table's rows as far as gRPC can say them, and gRPC's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.wire import table as http_table
from tests.wire.requests import WireRequest
from tests.wire_grpc.requests import GrpcRequest
from tests.wire_grpc.table_broken import BROKEN
from tests.wire_grpc.table_contents import CONTENTS
from tests.wire_grpc.table_control import CONTROL
from tests.wire_grpc.table_parameters import PARAMETERS
from tests.wire_grpc.table_settings import SETTINGS
from tests.wire_grpc.table_shapes import SHAPES_AND_NAMES
from tests.wire_grpc.table_streams import STREAMS
from tests.wire_grpc.translate import translate


@dataclass(frozen=True, slots=True)
class Translated:
    """What became of the HTTP table: every row of it is in one of the three.

    `same` has rows that differ from an earlier one only in what HTTP or JSON look like, by its
    name; `left_out` has the others' reasons.
    """

    rows: tuple[GrpcRequest, ...]
    same: dict[str, str]
    left_out: dict[str, str]


def translated(table: tuple[WireRequest, ...]) -> Translated:
    first: dict[tuple[object, ...], GrpcRequest] = {}
    same: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for row in table:
        made = translate(row)
        if isinstance(made, str):
            left_out[row.name] = made
        # Statistics count every inference, so there the second of two equals is another row.
        elif made.together or made.content() not in first:
            first[(made.name,) if made.together else made.content()] = made
        else:
            same[row.name] = first[made.content()].name
    return Translated(tuple(first.values()), same, left_out)


_ORACLE = Path(__file__).resolve().parent.parent / "oracle"
_COUNTING = ("--model-control-mode=explicit", "--load-model=counted")
SERVERS: dict[str, http_table.ServerSetup] = {
    **http_table.SERVERS,
    "explicit": http_table.ServerSetup(
        model_repository=_ORACLE / "broken_models",
        good_row="explicit good",
        flags=("--model-control-mode=explicit", "--load-model=works"),
        recording_flags=("--model-control-mode=explicit", "--load-model=works"),
    ),
    # HTTP's rows count on a server of their own as well.
    "counting": http_table.ServerSetup(
        model_repository=_ORACLE / "models",
        good_row="stats one more",
        flags=_COUNTING,
        recording_flags=_COUNTING,
    ),
}
# Those that HTTP's table is sent to as well: it takes long to start them, and no row of the one
# tells what the rows of the other have done.
SHARED = ("main", "limited")

FROM_HTTP: Translated = translated(http_table.TABLE)
OWN: tuple[GrpcRequest, ...] = (
    *CONTENTS,
    *PARAMETERS,
    *SHAPES_AND_NAMES,
    *BROKEN,
    *CONTROL,
    *SETTINGS,
    *STREAMS,
)


def _distinct(rows: tuple[GrpcRequest, ...]) -> tuple[GrpcRequest, ...]:
    """Tables that go through all cases meet some that another row has already."""
    first: dict[tuple[object, ...], GrpcRequest] = {}
    for row in rows:
        first.setdefault((row.name,) if row.together else row.content(), row)
    return tuple(first.values())


TABLE: tuple[GrpcRequest, ...] = _distinct((*FROM_HTTP.rows, *OWN))
BY_NAME: dict[str, GrpcRequest] = {request.name: request for request in TABLE}
