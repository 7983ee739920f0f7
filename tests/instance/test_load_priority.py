"""Loading gives way, serving does not: for every thread, and programs that the model starts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pyserver.instance.load_priority import NICER_BY, SESSION_NICER_BY, LoadPriority


def in_a_process(program: str, **variables: str) -> str:
    """What the program prints; it may do to its priority what it likes."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        cwd=Path(__file__).parents[2],
    )
    return done.stdout.strip()


_FACTS = """
import os, subprocess, threading
from pyserver.instance.load_priority import LoadPriority

def nice(thread=0):
    return os.getpriority(os.PRIO_PROCESS, thread)

before = nice()
priority = LoadPriority()
priority.lower()
lowered = nice() - before
over = threading.Event()
own = threading.Thread(target=over.wait)
own.start()
program = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
started = nice(own.native_id) - before, nice(program.pid) - before
threading.Thread(target=priority.restore).start()
while nice(program.pid) > before or nice() > before:
    pass
print(lowered, *started, nice() - before, nice(own.native_id) - before, nice(program.pid) - before)
over.set()
program.communicate()
"""


def may_lower_niceness() -> bool:
    probe = LoadPriority()
    found: list[bool] = []

    def look() -> None:
        probe.lower()
        found.append(os.sched_getscheduler(0) == os.SCHED_OTHER)
        probe.restore()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.skipif(not may_lower_niceness(), reason="needs RLIMIT_NICE or CAP_SYS_NICE")
def test_threads_and_programs_give_way_while_loading_and_no_longer_afterwards() -> None:
    said = [int(word) for word in in_a_process(_FACTS).split()]
    assert said == [NICER_BY, NICER_BY, NICER_BY, 0, 0, 0]


_SESSION = """
import os
from pathlib import Path
from pyserver.instance.load_priority import LoadPriority

def nice():
    return int(Path("/proc/self/autogroup").read_text().split()[-1])

os.setsid()
before = nice()
priority = LoadPriority()
priority.lower()
during = nice()
priority.restore()
print(before, during, nice())
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="a kernel without autogroups")
def test_the_session_of_an_instance_gives_way_as_a_whole() -> None:
    assert in_a_process(f"import os\nif os.fork(): os.wait(); os._exit(0)\n{_SESSION}") in (
        f"0 {SESSION_NICER_BY} 0",
        "0 0 0",  # another session was changed in the same tenth of a second
    )


_REFUSED = """
import os
from pyserver.instance import load_priority

def refused(which, who, nice):
    raise PermissionError("not without RLIMIT_NICE")

load_priority.os.setpriority = refused
before = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)
priority = load_priority.LoadPriority()
priority.lower()
during = os.getpriority(os.PRIO_PROCESS, 0) - before[0], os.sched_getscheduler(0)
priority.restore()
print(*during, (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)) == before)
"""


def test_where_niceness_could_not_be_taken_back_it_is_left_alone() -> None:
    assert in_a_process(_REFUSED) == f"0 {os.SCHED_BATCH} True"


def never_lowered(priority: LoadPriority) -> None:
    priority.restore()


def restored_twice(priority: LoadPriority) -> None:
    priority.lower()
    priority.restore()
    priority.restore()


@pytest.mark.parametrize("work", [never_lowered, restored_twice])
def test_restoring_changes_nothing_that_was_not_lowered(
    work: Callable[[LoadPriority], None],
) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)
    after: list[tuple[int, int]] = []

    def run() -> None:
        work(LoadPriority())
        after.append((os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert after == [before]
