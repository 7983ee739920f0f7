"""Orphans that become the supervisor's: adopted with their exit code, or reaped.

Each test forks, and is a subreaper meanwhile, so that it runs in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_BEGIN = """
import os, signal, sys, time
from pyserver.supervisor.adopted import AdoptedProcess, Strays, become_subreaper

become_subreaper()

def orphan(end):
    "The pid of a grandchild whose parent has ended; `end` is what it does once it is let go."
    read, write = os.pipe()
    gate_read, gate_write = os.pipe()
    middle = os.fork()
    if middle == 0:
        pid = os.fork()
        if pid:
            os.write(write, str(pid).encode())
            os._exit(0)
        os.close(gate_write)
        os.read(gate_read, 1)
        end()
    pid = int(os.read(read, 32))
    os.waitpid(middle, 0)
    return pid, lambda: os.close(gate_write)

def ended(pid):
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
"""


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_adopted_process_tells_how_it_ended() -> None:
    said = run("""
pid, let_go = orphan(lambda: os._exit(7))
adopted = AdoptedProcess(pid)
before = adopted.poll()
let_go()
ended(pid)
print(before, adopted.poll())
pid, let_go = orphan(lambda: os._exit(0))
adopted = AdoptedProcess(pid)
os.kill(pid, signal.SIGKILL)
ended(pid)
print(adopted.poll())
""")
    assert said.split() == ["None", "7", "-9"]


def test_who_is_no_child_cannot_be_adopted() -> None:
    said = run("""
for pid in (1, os.getpid(), 2**22 + 1):
    try:
        AdoptedProcess(pid)
    except ChildProcessError:
        print("refused")
""")
    assert said.split() == ["refused"] * 3


def test_a_stray_that_ends_is_reaped_and_its_end_told_once() -> None:
    said = run("""
strays = Strays()
strays.reap(set())
pid, let_go = orphan(lambda: os._exit(3))
strays.reap(set())
print(os.path.exists(f"/proc/{pid}"))
let_go()
ended(pid)
strays.reap(set())
print(os.path.exists(f"/proc/{pid}"), strays.take(pid), strays.take(pid))
""")
    assert said.split() == ["True", "False", "3", "None"]


def test_known_children_are_left_to_who_knows_them() -> None:
    said = run("""
strays = Strays()
pid, let_go = orphan(lambda: os._exit(3))
let_go()
ended(pid)
strays.reap({pid})
print(AdoptedProcess(pid).poll(), strays.take(pid))
""")
    assert said.split() == ["3", "None"]


def test_only_the_last_strays_are_remembered() -> None:
    said = run("""
strays = Strays()
pids = []
for _ in range(70):
    pid = os.fork()
    if pid == 0:
        os._exit(1)
    pids.append(pid)
    ended(pid)
    strays.reap(set())
print(sum(strays.take(pid) is not None for pid in pids))
""")
    assert said == "64"
