"""Processes that become our children without our having started them.

An instance forked by a template process is left to the supervisor: the template forks twice, and
the kernel gives the orphan to the nearest subreaper. So every death is still ours to notice, with
its cause. What nobody asks for (a daemon that a model has left behind) is reaped as init would.
"""

from __future__ import annotations

import os
import signal
from collections import OrderedDict
from collections.abc import Container
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36
# Exit codes kept for "adopt" messages that are still on their way.
_MOST_KEPT: Final = 64


def become_subreaper() -> None:
    """From now on orphans below us become our children. OSError when the kernel refuses."""
    import ctypes  # large, and for few servers

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class AdoptedProcess:
    """What `subprocess.Popen` is to a process that we have started."""

    def __init__(self, pid: int) -> None:
        """Raises ChildProcessError if it is no child of ours."""
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        self.pid = pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return -signal.SIGKILL  # nobody else reaps here; whatever it was, it is gone
        return os.waitstatus_to_exitcode(status) if pid else None


class Strays:
    """Children that nobody has adopted: reaped, and how the last ones ended."""

    def __init__(self) -> None:
        self._codes: OrderedDict[int, int] = OrderedDict()

    def reap(self, known: Container[int]) -> None:
        """Takes all that have ended and are not `known`, up to the first that is: who knows it
        takes it, and reaps then.
        """
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid in known:
                return
            code = AdoptedProcess(found.si_pid).poll()
            self._codes[found.si_pid] = code if code is not None else 0
            while len(self._codes) > _MOST_KEPT:
                self._codes.popitem(last=False)

    def take(self, pid: int) -> int | None:
        """How it ended, if it has been reaped: told once."""
        return self._codes.pop(pid, None)
