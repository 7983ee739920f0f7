"""`python -m pyserver.instance --control-fd=N`: started by the supervisor, spoken to by core."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from pyserver.control.channel import ControlClosed, ControlSocket
from pyserver.instance.process import die_with_parent, ignore_stop_signals, set_name
from pyserver.observe.log import LineFormat


def main(arguments: list[str] | None = None) -> int:
    parent = os.getppid()
    parser = argparse.ArgumentParser(prog="pyserver.instance")
    parser.add_argument("--control-fd", type=int, required=True)
    options = parser.parse_args(arguments)
    die_with_parent(parent)
    set_name("pyserver:model")
    ignore_stop_signals()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormat(role="instance", iso=False, escape=True))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # Imported after the above, so that a parent that dies meanwhile takes us with it.
    from pyserver.instance.role import InstanceRole

    try:
        InstanceRole(ControlSocket(options.control_fd)).run()
    except ControlClosed:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
