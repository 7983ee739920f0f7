"""`python -m pyserver.frontend --control-fd=N`: one frontend process, started by the supervisor."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from pyserver._core import end_with_parent
from pyserver.control.channel import ControlSocket
from pyserver.frontend.link import FrontendLink


def main() -> int:
    """Serves until the supervisor says stop, or is gone; the exit code."""
    parser = argparse.ArgumentParser(prog="pyserver.frontend")
    parser.add_argument("--control-fd", type=int, required=True)
    parent = os.getppid()
    arguments = parser.parse_args()
    # The supervisor decides when we end: signals of the terminal go to the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not end_with_parent("ps-frontend", parent):
        return 1
    FrontendLink(ControlSocket(arguments.control_fd)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
