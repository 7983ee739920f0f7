"""From what core asks for to a running instance process: started, or adopted from a template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pyserver.supervisor.adopted import Strays, become_subreaper
from pyserver.supervisor.child import Child, Ended, Message
from pyserver.supervisor.loop import Loop

TEMPLATE = "template"  # the role of processes that fork others


class EndedBefore(Exception):
    """The process had ended when it was to be adopted."""

    def __init__(self, how: Ended) -> None:
        super().__init__(str(how))
        self.how = how


def make_instance(
    loop: Loop,
    roles: Mapping[str, str],
    strays: Strays,
    key: str,
    message: Message,
    fds: Sequence[int],
    on_end: Callable[[Ended], None],
) -> Child:
    """For a "spawn" message `fds` are its control socket, and where its output goes, if not where
    ours does; "adopt" names the pid. Raises OSError, or EndedBefore.
    """
    role = str(message.get("role"))
    module = roles.get(role)
    if module is None:
        raise OSError(f"role {role!r} is unknown")
    if message["op"] == "adopt":
        pid = int(message.get("pid") or 0)
        try:
            return Child(loop, f"instance {key}", module, adopted_pid=pid, on_end=on_end)
        except OSError:
            code = strays.take(pid)
            if code is None:
                raise
            raise EndedBefore(
                Ended(-code if code < 0 else None, code if code >= 0 else None, False)
            ) from None
    if role == TEMPLATE:
        become_subreaper()
    return Child(
        loop,
        f"{role} {key}",
        module,
        control_fd=fds[0],
        output_fd=fds[1] if len(fds) > 1 else None,
        program=message.get("program"),
        own_session=True,
        environment={str(k): str(v) for k, v in (message.get("env") or {}).items()},
        on_end=on_end,
    )


def exited(key: str, pid: int, how: Ended) -> Message:
    """What core is told of its end."""
    return {
        "op": "exited",
        "key": key,
        "pid": pid,
        "signal": how.signal,
        "exit_code": how.exit_code,
        "out_of_memory": how.out_of_memory,
    }
