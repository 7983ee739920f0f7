"""`pyserver check` and `pyserver config`: their arguments, what they print, their exit codes.

0: nothing is wrong; 1: there are mistakes; 2: the arguments are wrong. Imported only when one of
them was asked for, as they need much that the server's own command does not.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from pyserver.check.checking import Request, check
from pyserver.check.complete_config import complete_config, write_config
from pyserver.check.findings import Report
from pyserver.cli import values
from pyserver.errors import AlreadyExistsError, NotFoundError, ServerError
from pyserver.settings import NamedSetting, Settings

_WRONG_USAGE = 2


def run(name: str, arguments: Sequence[str]) -> int:
    """The exit code of a subcommand; argparse ends the process by itself for --help and for wrong
    arguments."""
    # What is worth telling is in the report.
    logging.getLogger("pyserver").addHandler(logging.NullHandler())
    subcommand: Callable[[Sequence[str]], int] = {"check": _check, "config": _config}[name]
    try:
        code = subcommand(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser(name: str, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"pyserver {name}", description=about, allow_abbrev=False)
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument(
        "--backend-config",
        action="append",
        default=[],
        type=_named,
        metavar=values.NAMED.form,
        help="a setting of one backend, or of all, as for the server",
    )
    parser.add_argument(
        "--model-config-name",
        default="",
        metavar="<name>",
        help="use configs/<name>.pbtxt of a model where it exists",
    )
    parser.add_argument(
        "--timeout-secs",
        type=_seconds,
        default=60.0,
        metavar="<seconds>",
        help="time for each step of each model (default 60)",
    )
    return parser


def _named(text: str) -> NamedSetting:
    try:
        setting: NamedSetting = values.NAMED.parse(text)
    except ValueError as bad:
        raise argparse.ArgumentTypeError(str(bad)) from None
    return setting


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds")
    return seconds


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        backend_config=tuple(options.backend_config), model_config_name=options.model_config_name
    )


def _check(arguments: Sequence[str]) -> int:
    parser = _parser(
        "check",
        "Checks a model repository, or one model's folder, without a server: every config, the"
        " models' own signatures, and one request to each model. Exit code 0: fine, 1: mistakes,"
        " 2: wrong usage.",
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="<name>",
        help="only this model; may be given more than once",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each finding")
    parser.add_argument(
        "--no-request", action="store_true", help="load no model and send no request"
    )
    options = parser.parse_args(arguments)
    request = Request(
        options.folder,
        tuple(options.model),
        _settings(options),
        options.timeout_secs,
        send=not options.no_request,
    )
    try:
        report = check(request)
    except (ServerError, OSError) as error:
        _refuse(parser, error)
    _print(report, as_json=options.json)
    return 1 if report.mistakes else 0


def _print(report: Report, *, as_json: bool) -> None:
    for finding in report.findings:
        print(finding.to_json() if as_json else finding.to_text())
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr if as_json else sys.stdout)
    if not as_json:
        print(report.summary())


def _config(arguments: Sequence[str]) -> int:
    parser = _parser(
        "config",
        "Prints the complete config that the server would use for the model in DIR. Exit code 0:"
        " done, 1: the model cannot be used, 2: wrong usage.",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="write it to DIR/config.pbtxt; the file that was there is kept as config.pbtxt.orig",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace a config.pbtxt.orig that is there already"
    )
    options = parser.parse_args(arguments)
    try:
        text = complete_config(
            Request(options.folder, (), _settings(options), options.timeout_secs)
        )
        if not options.write:
            sys.stdout.write(text)
            return 0
        done = write_config(options.folder.resolve(), text, force=options.force)
    except (NotFoundError, AlreadyExistsError) as error:
        _refuse(parser, error)
    except (ServerError, OSError) as error:
        print(f"pyserver config: {error}; see pyserver check {options.folder}", file=sys.stderr)
        return 1
    if done.written is None:
        print("config.pbtxt is complete already")
        return 0
    kept = f"; the one before is {done.kept}" if done.kept else ""
    print(f"wrote {done.written}{kept}")
    return 0


def _refuse(parser: argparse.ArgumentParser, error: Exception) -> NoReturn:
    print(f"{parser.prog}: {error}", file=sys.stderr)
    sys.exit(_WRONG_USAGE)
