"""Carry out every scenario against the real Triton and write what was seen to
tests/scheduling/recorded.json.

    python -m tests.oracle.record_scheduling              records, if three runs saw the same
    python -m tests.oracle.record_scheduling --runs 1     after one run
    python -m tests.oracle.record_scheduling --check      runs once and compares, writes nothing

Set up the real Triton once with `python -m bench.targets.triton install`.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from tritonclient.utils import InferenceServerException

from tests.scheduling.compare import differences, stable
from tests.scheduling.servers import SERVERS, SchedulingServers
from tests.scheduling.steps import Scenario
from tests.scheduling.table import MODELS, TABLE
from tests.waiting import wait_until

RECORDED = Path(__file__).resolve().parent.parent / "scheduling" / "recorded.json"
_TRIES = 4
_log = logging.getLogger(__name__)


def run_all(target: str, scenarios: list[Scenario]) -> dict[str, Any]:
    """What was seen in each, by name, over fresh servers."""
    seen: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="scheduling-") as folder:
        servers = SchedulingServers(Path(folder), MODELS, target, scenarios)
        try:
            for scenario in scenarios:
                seen[scenario.name] = _seen_in(servers, scenario)
                _log.info("%s", scenario.name)
        finally:
            codes = servers.stop()
            _log.info("exit codes: %s", codes)
    return seen


def _seen_in(servers: SchedulingServers, scenario: Scenario) -> Any:
    """What was seen. A scenario that kills the server, which failing warm-ups do now and then, is
    tried again; one that always kills it is recorded as that.
    """
    for _ in range(_TRIES):
        driver = servers.driver(scenario.server)
        try:
            seen = stable(driver.run(scenario))
            if servers.alive(scenario.server):
                return seen
        except InferenceServerException:
            # A dying server refuses calls before it is gone.
            wait_until(lambda: not servers.alive(scenario.server), timeout_s=10)
        _log.warning("%r ended the server", scenario.name)
        servers.stop_one(scenario.server)
    return {"crashed": {"the server": True}}


def _print_differences(wanted: dict[str, Any], got: dict[str, Any]) -> set[str]:
    differ = set()
    for name, seen in got.items():
        for sentence in differences(wanted.get(name), seen):
            print(f"{name}: {sentence}")
            differ.add(name)
    return differ


def main() -> None:
    parser = argparse.ArgumentParser(description="Record the real Triton's scheduling")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--runs", type=int, default=3, help="how many runs must agree")
    parser.add_argument("--server", choices=list(SERVERS), help="only scenarios of this one")
    parser.add_argument("--row", action="append", help="only scenarios that start so")
    parser.add_argument("--target", default="triton", choices=("triton", "pyserver"))
    parser.add_argument("--show", action="store_true", help="print what was seen")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    scenarios = [
        scenario
        for scenario in TABLE
        if arguments.server in (None, scenario.server)
        and (not arguments.row or scenario.name.startswith(tuple(arguments.row)))
    ]
    recorded: dict[str, Any] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    first = run_all(arguments.target, scenarios)
    if arguments.show:
        print(written(first))
    if arguments.check or arguments.target != "triton":
        differ = _print_differences(recorded, first)
        print(f"{len(first)} scenarios, {len(differ)} differ")
        raise SystemExit(1 if differ else 0)
    differ = set()
    for _ in range(arguments.runs - 1):
        differ |= _print_differences(first, run_all(arguments.target, scenarios))
    kept = recorded | {name: seen for name, seen in first.items() if name not in differ}
    in_order = {scenario.name: kept[scenario.name] for scenario in TABLE if scenario.name in kept}
    RECORDED.write_text(written(in_order))
    print(f"{len(first)} scenarios, {len(differ)} not the same in every run: {sorted(differ)}")


def written(recorded: dict[str, Any]) -> str:
    """JSON with a line for each answer, each batch and each note."""
    scenarios = []
    for name, seen in recorded.items():
        parts = []
        for part, value in seen.items():
            if isinstance(value, dict):
                lines = [f"   {json.dumps(key)}: {_line(each)}" for key, each in value.items()]
                parts.append(f"  {json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n  }")
            else:
                lines = [f"   {_line(each)}" for each in value]
                parts.append(f"  {json.dumps(part)}: [\n" + ",\n".join(lines) + "\n  ]")
        scenarios.append(f" {json.dumps(name)}: {{\n" + ",\n".join(parts) + "\n }")
    return "{\n" + ",\n".join(scenarios) + "\n}\n"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    main()
