"""A loop over readable and writable descriptors, timers and signals; the standard library's epoll.

asyncio would do the same with 10 MB and 50 ms more at start.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Callback = Callable[[], None]


class Loop:
    """Callbacks run one at a time, in `run`; a callback that blocks blocks them all."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Callback]] = []
        self._numbers = itertools.count()
        self._running = False

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def on_readable(self, fd: int, callback: Callback) -> None:
        self._readers[fd] = callback
        self._update(fd)

    def on_writable(self, fd: int, callback: Callback | None) -> None:
        """None ends the watch."""
        if callback is None:
            self._writers.pop(fd, None)
        else:
            self._writers[fd] = callback
        self._update(fd)

    def forget(self, fd: int) -> None:
        """Before closing `fd`."""
        self._readers.pop(fd, None)
        self._writers.pop(fd, None)
        self._update(fd)

    def call_later(self, delay_s: float, callback: Callback) -> None:
        """A timer cannot be taken back: the callback looks whether it still has something to do."""
        heapq.heappush(self._timers, (self.now() + delay_s, next(self._numbers), callback))

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        """Until `stop`."""
        self._running = True
        while self._running:
            timeout = max(0.0, self._timers[0][0] - self.now()) if self._timers else None
            for key, events in self._selector.select(timeout):
                # An earlier callback of this round may have forgotten the descriptor.
                if events & selectors.EVENT_READ and key.fd in self._readers:
                    self._readers[key.fd]()
                if events & selectors.EVENT_WRITE and key.fd in self._writers:
                    self._writers[key.fd]()
            while self._timers and self._timers[0][0] <= self.now():
                heapq.heappop(self._timers)[2]()

    def close(self) -> None:
        self._selector.close()

    @contextmanager
    def signals(self, numbers: tuple[int, ...], callback: Callable[[int], None]) -> Iterator[None]:
        """Within: these signals call `callback(number)` from the loop. Main thread only."""
        here, there = socket.socketpair()
        here.setblocking(False)
        there.setblocking(False)

        def arrived() -> None:
            for number in here.recv(64):
                if number in numbers:
                    callback(number)

        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        wakeup_before = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
        self.on_readable(here.fileno(), arrived)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            self.forget(here.fileno())
            here.close()
            there.close()

    def _update(self, fd: int) -> None:
        events = (selectors.EVENT_READ if fd in self._readers else 0) | (
            selectors.EVENT_WRITE if fd in self._writers else 0
        )
        if fd in self._selector.get_map():
            if events:
                self._selector.modify(fd, events)
            else:
                self._selector.unregister(fd)
        elif events:
            self._selector.register(fd, events)
