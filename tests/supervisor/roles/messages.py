"""What the stand-in roles share: their control socket, and dying with the supervisor."""

from __future__ import annotations

import sys

from pyserver.control.channel import ControlSocket


def control_socket() -> ControlSocket:
    return ControlSocket(int(sys.argv[1].removeprefix("--control-fd=")))
