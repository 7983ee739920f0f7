"""While a model loads, its process gives way to those that serve; it is their equal again before it
takes traffic.

Only what can be taken back is done. Niceness is a thread's own, threads and programs inherit it,
and lowering it again needs RLIMIT_NICE or CAP_SYS_NICE (not in a container's own user namespace),
so it is tried in a thread of its own first. Where that is refused, SCHED_BATCH remains, which
everybody may leave; its threads do not push aside who runs.

Where the kernel shares processors out by session first (autogroups), niceness counts within a
session only. An instance has a session of its own, which is made nice instead: everybody may take
that back. Source: sched(7), setpriority(2).
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

# A tenth of the weight of who serves: a load goes on beside full traffic, ten times slower.
NICER_BY: Final = 10
# Of a session, which competes with all others of the machine, too: a third.
SESSION_NICER_BY: Final = 5
_NICEST: Final = 19
_AUTOGROUP: Final = Path("/proc/self/autogroup")
# The kernel takes such a change every 100 ms, of all sessions together.
_TRIES, _TRY_EVERY_S = 40, 0.05
# Threads may start threads while they are counted; each round catches those of the one before.
_ROUNDS: Final = 4


class LoadPriority:
    """`lower` before anything is loaded, in the main thread; `restore` from any thread, once."""

    def __init__(self) -> None:
        self._nicer_by = 0
        self._batch = False
        self._session = False

    def lower(self) -> None:
        """From now on this thread, and what it starts, gives way."""
        if os.getsid(0) == os.getpid():
            self._session = _make_session_nice(SESSION_NICER_BY, tries=1)
        here = os.getpriority(os.PRIO_PROCESS, 0)
        nicer_by = min(NICER_BY, _NICEST - here)
        if nicer_by > 0 and _works(lambda: _there_and_back(here, here + nicer_by)):
            os.setpriority(os.PRIO_PROCESS, 0, here + nicer_by)
            self._nicer_by = nicer_by
        elif os.sched_getscheduler(0) == os.SCHED_OTHER:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
                self._batch = True

    def restore(self) -> None:
        """All threads of this process, and of the programs that the model has started, are as they
        were; what the model has changed by itself stays changed by as much.
        """
        if self._session and not _make_session_nice(0, tries=_TRIES):
            log.warning(
                "the session of process %d stays nice, though it loads no more", os.getpid()
            )
        self._session = False
        if not (self._nicer_by or self._batch):
            return
        done: set[int] = set()
        for _ in range(_ROUNDS):
            found = set(_threads_below(os.getpid())) - done
            if not found:
                break
            for thread in found:
                with contextlib.suppress(OSError):  # it has ended
                    self._restore(thread)
            done |= found
        self._nicer_by, self._batch = 0, False

    def _restore(self, thread: int) -> None:
        if self._nicer_by:
            nice = os.getpriority(os.PRIO_PROCESS, thread)
            if nice >= self._nicer_by:  # not one that has been started meanwhile, by a restored one
                os.setpriority(os.PRIO_PROCESS, thread, nice - self._nicer_by)
        elif os.sched_getscheduler(thread) == os.SCHED_BATCH:
            os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _make_session_nice(nice: int, *, tries: int) -> bool:
    """False where there are no autogroups, or other sessions are changed all the time."""
    for attempt in range(tries):
        if attempt:
            time.sleep(_TRY_EVERY_S)
        try:
            _AUTOGROUP.write_text(str(nice))
            return True
        except BlockingIOError:
            continue
        except OSError:
            return False
    return False


def _there_and_back(here: int, there: int) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, there)
    os.setpriority(os.PRIO_PROCESS, 0, here)


def _works(attempt: Callable[[], None]) -> bool:
    """Tries it in a thread that ends then, whatever has become of its priority."""
    worked: list[bool] = []

    def run() -> None:
        with contextlib.suppress(OSError):
            attempt()
            worked.append(True)

    thread = threading.Thread(target=run, name="priority")
    thread.start()
    thread.join()
    return bool(worked)


def _threads_below(root: int) -> Iterator[int]:
    """The threads of the process, and of those that it has started."""
    waiting = [root]
    while waiting:
        tasks = Path(f"/proc/{waiting.pop()}/task")
        with contextlib.suppress(OSError):
            for task in tasks.iterdir():
                yield int(task.name)
                with contextlib.suppress(OSError):  # a kernel without the list, or the thread ended
                    waiting += [int(pid) for pid in (task / "children").read_text().split()]
