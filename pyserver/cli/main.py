"""The `pyserver` command: parse, open the log, and become the supervisor; or, if the first argument
is one of SUBCOMMANDS, do that instead.

Exit codes: 0 after a clean stop, 1 for wrong arguments, for a model that did not load while
--exit-on-error is on, and for a drain that ran out of time.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from pyserver.cli.parse import UsageError, parse
from pyserver.cli.usage import usage
from pyserver.observe.log import open_log
from pyserver.supervisor.main import supervise

SUBCOMMANDS = ("check", "config")

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the server until it is told to stop; ends the process with the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in SUBCOMMANDS:
        from pyserver.cli.subcommands import run

        sys.exit(run(given[0], given[1:]))
    try:
        command = parse(given, os.environ)
    except UsageError as bad:
        # The message comes last: the usage is longer than a screen.
        sys.stderr.write(f"{usage()}\npyserver: {bad}\n")
        sys.exit(1)
    if command.help:
        sys.stdout.write(usage())
        sys.exit(0)
    open_log(command.settings, role="supervisor")
    for line in command.warnings:
        _log.warning("%s", line)
    sys.exit(supervise(command.settings))
