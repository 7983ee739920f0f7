"""A frontend without HTTP: answers each connection with its index and pid."""

from __future__ import annotations

import os
import select
import socket
import sys

from pyserver.control.channel import ControlClosed, ControlSocket
from tests.supervisor.roles.messages import control_socket


def main() -> None:
    supervisor = control_socket()
    core: ControlSocket | None = None
    listening: list[socket.socket] = []
    sockets: list[socket.socket] = []
    index = -1
    while True:
        ready = select.select([supervisor, *([core] if core else []), *listening], [], [])[0]
        for one in ready:
            if isinstance(one, socket.socket):
                try:
                    client, _ = one.accept()
                except BlockingIOError:  # the other frontend was faster at the same socket
                    continue
                except OSError:
                    listening.remove(one)
                    continue
                client.sendall(f"{index} {os.getpid()}".encode())
                client.close()
                continue
            try:
                message, fds = one.receive()
            except ControlClosed:
                if one is supervisor:
                    sys.exit(3)
                core = None
                continue
            match message["op"]:
                case "start":
                    index = message["index"]
                    sockets = [socket.socket(fileno=fd) for fd in fds]
                case "core":
                    core = ControlSocket(fds[0])
                case "serve":
                    for bound in sockets:
                        bound.listen()
                    listening = list(sockets)
                    supervisor.send({"op": "listening"})
                case "drain":
                    listening = []
                    supervisor.send({"op": "drained"})
                case "stop":
                    sys.exit(0)


if __name__ == "__main__":
    main()
