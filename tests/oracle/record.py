"""Ask the real Triton every row of the table and write its answers to tests/wire/recorded.json.

    python -m tests.oracle.record             records
    python -m tests.oracle.record --check     asks again and compares, writes nothing

Set up the real Triton once with `python -m bench.targets.triton install`. A row that kills the
server is recorded as unanswered; the server is started again for the next one.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.targets.process import StartFailed
from bench.targets.triton import Triton
from tests.wire.compare import differences, from_record, to_record
from tests.wire.exchange import exchange
from tests.wire.newer import NEWER
from tests.wire.requests import WireRequest
from tests.wire.table import SERVERS, TABLE, ServerSetup

RECORDED = Path(__file__).resolve().parent.parent / "wire" / "recorded.json"
_log = logging.getLogger(__name__)


def started(setup: ServerSetup, log_path: Path) -> Triton:
    """The real Triton, up."""
    triton = Triton(log_path)
    triton.start(setup.model_repository, extra=setup.recording_flags)
    try:
        triton.wait_ready(180, path=setup.up_path)
    except StartFailed:
        triton.stop(0)
        raise
    return triton


def _ask(server: str, requests: list[WireRequest], log_path: Path) -> dict[str, list[Any]]:
    """The answers of one server to its rows, by name."""
    answered: dict[str, list[Any]] = {}
    triton = started(SERVERS[server], log_path)
    try:
        for request in requests:
            if triton.ports is None:
                raise RuntimeError("a started server has ports")
            answers = exchange(triton.ports.http, request)
            answered[request.name] = [to_record(answer) for answer in answers]
            if answers[-1].status <= 0 and not triton.answers("/v2/health/live"):
                _log.warning("%r ended the server", request.name)
                answered[request.name] = [{"status": 0, "text": "", "crashed": True}]
                triton.stop()
                triton = started(SERVERS[server], log_path)
    finally:
        code = triton.stop()
        _log.info("%s: %d rows, exit code %d", server, len(requests), code)
    return answered


def _check(recorded: dict[str, list[Any]], now: dict[str, list[Any]]) -> int:
    """Print how today's answers differ from the recorded ones."""
    by_name = {request.name: request for request in TABLE}
    count = 0
    for name, records in now.items():
        if name in NEWER and not NEWER[name].or_recorded:
            continue
        if len(records) != len(recorded.get(name, [])):
            print(f"{name}: {len(records)} answers, {len(recorded.get(name, []))} recorded")
            count += 1
            continue
        for wanted, got in zip(recorded[name], records, strict=True):
            found = differences(from_record(wanted), from_record(got), by_name[name].masked)
            count += bool(found)
            for difference in found:
                print(f"{name}: {difference}")
    return count


def _write(answers: dict[str, list[Any]]) -> None:
    """Keep the answers in the order of the table, but for those that newer.py replaces."""
    kept = {
        row.name: answers[row.name]
        for row in TABLE
        if row.name in answers and (row.name not in NEWER or NEWER[row.name].or_recorded)
    }
    RECORDED.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def parse_arguments(description: str, servers: Iterable[str]) -> argparse.Namespace:
    """What both recorders are told: `check`, and which `server`s and `row`s (None: all)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--server", choices=list(servers), action="append", help="only this one")
    parser.add_argument("--row", action="append", help="only rows that start so")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments("Record the real Triton's answers", SERVERS)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    recorded: dict[str, list[Any]] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    now: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory(prefix="triton-log-") as folder:
        for server in arguments.server or SERVERS:
            requests = [row for row in TABLE if row.server == server]
            if arguments.row:
                chosen = tuple(arguments.row)
                requests = [row for row in requests if row.name.startswith(chosen)]
            if not requests:
                continue
            now |= _ask(server, requests, Path(folder) / f"{server}.log")
            if not arguments.check:
                _write(recorded | now)
    if arguments.check:
        count = _check(recorded, now)
        print(f"{len(now)} rows, {count} differ")
        raise SystemExit(1 if count else 0)


if __name__ == "__main__":
    main()
