"""`python -m pyserver.instance --control-fd=N`: started by the supervisor, spoken to by core."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from pyserver._core import end_with_parent
from pyserver.backends.interface import Backend
from pyserver.control.channel import ControlClosed, ControlSocket
from pyserver.instance.load_priority import LoadPriority
from pyserver.instance.log_handler import ControlLogHandler
from pyserver.instance.process import ignore_stop_signals, show_output_at_once
from pyserver.instance.role import InstanceRole
from pyserver.instance.template import Template
from pyserver.settings import URGENT


def main(arguments: list[str] | None = None) -> int:
    parent = os.getppid()
    parser = argparse.ArgumentParser(prog="pyserver.instance")
    parser.add_argument("--control-fd", type=int, required=True)
    options = parser.parse_args(arguments)
    if not end_with_parent("ps-instance", parent):
        return 1
    ignore_stop_signals()
    show_output_at_once()
    priority = LoadPriority()
    if not os.environ.pop(URGENT, ""):
        priority.lower()
    control = ControlSocket(options.control_fd)
    try:
        message, fds = control.receive()
        backend: Backend | None = None
        if message["op"] == "preload":
            logging.basicConfig(level=logging.INFO, handlers=[ControlLogHandler(control.send)])
            forked = Template(control, parent).run(message)
            if forked is None:
                return 0
            control, backend = forked.control, forked.backend  # in a process of its own
            message, fds = control.receive()
        role = InstanceRole(control, before_traffic=priority.restore, preloaded=backend)
        logging.basicConfig(level=logging.INFO, handlers=[ControlLogHandler(role.send)], force=True)
        role.run((message, fds))
    except ControlClosed:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
