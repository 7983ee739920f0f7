"""What an instance process writes to its stdout and stderr: a pipe that core reads into its log.

Core reads and not the instance itself, so that what a crashing process said last is not lost, and
a model that holds the interpreter's lock while it prints does not wait for itself.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from pyserver.observe.output_budget import PAUSE_S
from pyserver.observe.output_lines import OutputLines

_READ_BYTES: Final = 64 << 10
# For each turn of the loop: a process that prints without end must not hold up everybody else.
_READS_PER_TURN: Final = 4
# After the end of the process there is no more in the pipe than it can hold.
_LAST_READS: Final = 32


class InstanceOutput:
    """Reads until `finish`; `say(line)` hears each line.

    `write_fd` is for the process; whoever passes it on calls `passed_on` then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, say: Callable[[str], None]) -> None:
        self._loop = loop
        self._say = say
        self._lines = OutputLines()
        self._timer: asyncio.TimerHandle | None = None
        self._read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read_fd, False)
        loop.add_reader(self._read_fd, self._readable)

    def passed_on(self) -> None:
        os.close(self.write_fd)
        self.write_fd = -1

    def finish(self) -> None:
        """The process has ended: says what is left, whoever else may still hold the pipe."""
        for _ in range(_LAST_READS):
            if not self._read():
                break
        self._close()
        for line in self._lines.finish():
            self._say(line)

    def _readable(self) -> None:
        for _ in range(_READS_PER_TURN):
            if not self._read():
                break
        if self._lines.waiting and self._timer is None:
            self._timer = self._loop.call_later(PAUSE_S, self._tick)

    def _read(self) -> bool:
        if self._read_fd < 0:
            return False
        try:
            data = os.read(self._read_fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:  # everybody has closed it
            self._close()
            return False
        for line in self._lines.feed(data, self._loop.time()):
            self._say(line)
        return True

    def _tick(self) -> None:
        self._timer = None
        for line in self._lines.tick(self._loop.time()):
            self._say(line)
        if self._lines.waiting and self._read_fd >= 0:
            self._timer = self._loop.call_later(PAUSE_S, self._tick)

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._read_fd >= 0:
            self._loop.remove_reader(self._read_fd)
            os.close(self._read_fd)
            self._read_fd = -1
        if self.write_fd >= 0:
            self.passed_on()
