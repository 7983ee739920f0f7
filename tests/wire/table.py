"""The whole table of requests, and the servers they are sent to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.wire.requests import WireRequest
from tests.wire.table_bad_json import BAD_JSON
from tests.wire.table_bad_transport import BAD_TRANSPORT
from tests.wire.table_endpoints import ENDPOINTS
from tests.wire.table_framing import FRAMING
from tests.wire.table_json import JSON
from tests.wire.table_other_servers import LIMIT_BYTES, OTHER_SERVERS
from tests.wire.table_outputs import ASKED
from tests.wire.table_refused import REFUSED

_ORACLE = Path(__file__).resolve().parent.parent / "oracle"


@dataclass(frozen=True, slots=True)
class ServerSetup:
    """How one of the servers of the table is started.

    `up_path` answers 200 when it is up; `good_row` is a row that it answers well whatever came
    before; `recording_flags` stand for `flags` where the real Triton at hand is too old for them.
    """

    model_repository: Path
    good_row: str
    flags: tuple[str, ...] = ()
    recording_flags: tuple[str, ...] = ()
    up_path: str = "/v2/health/ready"


SERVERS: dict[str, ServerSetup] = {
    "main": ServerSetup(model_repository=_ORACLE / "models", good_row="json add_sub"),
    "limited": ServerSetup(
        model_repository=_ORACLE / "small_models",
        good_row="limit json below",
        flags=(f"--http-max-input-size={LIMIT_BYTES}",),
    ),
    "broken": ServerSetup(
        model_repository=_ORACLE / "broken_models",
        good_row="broken sibling ready",
        flags=("--exit-on-error=false",),
        recording_flags=("--exit-on-error=false",),
        up_path="/v2/health/live",
    ),
}

# Health first: it says most when something is wrong. The order matters to the statistics rows only.
TABLE: tuple[WireRequest, ...] = (
    *ENDPOINTS,
    *JSON,
    *ASKED,
    *FRAMING,
    *BAD_JSON,
    *REFUSED,
    *BAD_TRANSPORT,
    *OTHER_SERVERS,
)
BY_NAME: dict[str, WireRequest] = {request.name: request for request in TABLE}
