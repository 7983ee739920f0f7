"""An instance without a model: lives until core closes its control socket."""

from __future__ import annotations

import os

from pyserver.control.channel import ControlClosed
from tests.supervisor.roles.messages import control_socket

if __name__ == "__main__":
    control = control_socket()
    assert os.environ["INSTANCE_KEY"] in ("a", "b")
    try:
        control.receive()
    except ControlClosed:
        pass
