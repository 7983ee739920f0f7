"""Carry out every scenario of the models' life cycle against the real Triton and write what was
seen to tests/lifecycle_surface/recorded.json.

    python -m tests.oracle.record_lifecycle                     records, if two runs saw the same
    python -m tests.oracle.record_lifecycle --runs 1            after one run
    python -m tests.oracle.record_lifecycle --target pyserver   compares pyserver, writes nothing
    python -m tests.oracle.record_lifecycle --row poll          only scenarios that start so

Set up the real Triton once with `python -m bench.targets.triton install`.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from tests.lifecycle_surface.notes import by_place
from tests.lifecycle_surface.servers import SurfaceServers
from tests.lifecycle_surface.table import RUNS, TABLE
from tests.scheduling.compare import differences, stable

RECORDED = Path(__file__).resolve().parent.parent / "lifecycle_surface" / "recorded.json"
_log = logging.getLogger(__name__)


def run_all(target: str, names: list[str]) -> dict[str, Any]:
    """What was seen in each, by name, over fresh servers."""
    seen: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="lifecycle-") as folder:
        chosen = {scenario.name for scenario, _ in map(RUNS.__getitem__, names)}
        servers = SurfaceServers(Path(folder), target, [one for one in TABLE if one.name in chosen])
        try:
            for name in names:
                scenario, protocol = RUNS[name]
                try:
                    seen[name] = stable(servers.run(scenario, protocol))
                except Exception as error:
                    _log.exception("%s", name)
                    seen[name] = [{"failed": str(error)}]
                else:
                    _log.info("%s", name)
        finally:
            _log.info("exit codes: %s", servers.stop())
    return seen


def written(seen: dict[str, Any]) -> str:
    return json.dumps(seen, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Record the real Triton's life cycle of models")
    parser.add_argument("--runs", type=int, default=2, help="how many runs must agree")
    parser.add_argument("--row", action="append", help="only scenarios that start so")
    parser.add_argument("--target", default="triton", choices=("triton", "pyserver"))
    parser.add_argument("--show", action="store_true", help="print what was seen")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    names = [name for name in RUNS if not arguments.row or name.startswith(tuple(arguments.row))]
    recorded: dict[str, Any] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    first = run_all(arguments.target, names)
    if arguments.show:
        print(written(first))
    others = (
        [recorded]
        if arguments.target != "triton"
        else [run_all(arguments.target, names) for _ in range(arguments.runs - 1)]
    )
    differ = set()
    for other in others:
        for name in names:
            for sentence in differences(by_place(other.get(name)), by_place(first[name])):
                print(f"{name}: {sentence}")
                differ.add(name)
    print(f"{len(names)} scenarios, {len(differ)} differ")
    if arguments.target == "triton":
        recorded |= {name: notes for name, notes in first.items() if name not in differ}
        RECORDED.write_text(
            written({name: recorded[name] for name in RUNS if name in recorded}), encoding="utf-8"
        )
    raise SystemExit(1 if differ else 0)


if __name__ == "__main__":
    main()
