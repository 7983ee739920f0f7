"""Ask the real Triton every row of the gRPC table and write its answers to
tests/wire_grpc/recorded.json.

    python -m tests.oracle.record_grpc             records
    python -m tests.oracle.record_grpc --check     asks again and compares, writes nothing

As tests/oracle/record.py does for HTTP. A row that ends the server, or leaves it hanging, is
recorded as unanswered; after it, and after one that ends a model's process, the server is started
again.
"""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from bench.targets.triton import Triton
from tests.oracle.record import parse_arguments, started
from tests.wire_grpc.compare import differences, to_record
from tests.wire_grpc.exchange import GrpcAnswer, exchange, open_channel
from tests.wire_grpc.newer import NEWER
from tests.wire_grpc.requests import GrpcRequest
from tests.wire_grpc.table import BY_NAME, SERVERS, TABLE

RECORDED = Path(__file__).resolve().parent.parent / "wire_grpc" / "recorded.json"
_log = logging.getLogger(__name__)


def _counts(row: GrpcRequest) -> bool:
    """Not one whose answer newer.py replaces: many of those break the server."""
    return row.name not in NEWER or NEWER[row.name].or_recorded


def _has_broken(triton: Triton, answer: GrpcAnswer) -> bool:
    """Whether the server should see no further row."""
    if answer.code == "DEADLINE_EXCEEDED" or "is not healthy" in answer.details:
        return True
    return answer.code == "UNAVAILABLE" and not triton.answers("/v2/health/live")


def _ask_until_it_ends(
    server: str, requests: list[GrpcRequest], log_path: Path, answered: dict[str, Any]
) -> list[GrpcRequest]:
    """Keeps the answers of one server's life; returns the rows that it did not live to see."""
    triton = started(SERVERS[server], log_path)
    assert triton.ports is not None, "a started server has ports"
    try:
        with open_channel(triton.ports.grpc) as channel:
            for index, request in enumerate(requests):
                answer = exchange(channel, request)
                answered[request.name] = to_record(request, answer)
                if _has_broken(triton, answer):
                    _log.warning("%r broke the server: %s", request.name, answer.details)
                    answered[request.name] = {"code": "UNAVAILABLE", "crashed": True}
                    return requests[index + 1 :]
    finally:
        code = triton.stop(10)
        _log.info("%s: exit code %d", server, code)
    return []


def _check(recorded: dict[str, Any], now: dict[str, Any]) -> int:
    """Print how today's answers differ from the recorded ones."""
    count = 0
    for name, record in now.items():
        found = differences(BY_NAME[name], recorded.get(name, {"code": "none"}), record)
        count += bool(found)
        for difference in found:
            print(f"{name}: {difference}")
    return count


def _write(answers: dict[str, Any]) -> None:
    """In the order of the table; the members of an answer by name, as the order of a map says
    nothing.
    """
    kept = {row.name: answers[row.name] for row in TABLE if _counts(row) and row.name in answers}
    kept = {name: json.loads(json.dumps(one, sort_keys=True)) for name, one in kept.items()}
    RECORDED.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    arguments = parse_arguments("Record the real Triton's answers over gRPC", SERVERS)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    recorded: dict[str, Any] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    now: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="triton-log-") as folder:
        for server in arguments.server or SERVERS:
            left = [row for row in TABLE if row.server == server and _counts(row)]
            if arguments.row:
                left = [row for row in left if row.name.startswith(tuple(arguments.row))]
            while left:
                left = _ask_until_it_ends(server, left, Path(folder) / f"{server}.log", now)
            if not arguments.check:
                _write(recorded | now)
    if arguments.check:
        count = _check(recorded, now)
        print(f"{len(now)} rows, {count} differ")
        raise SystemExit(1 if count else 0)


if __name__ == "__main__":
    main()
