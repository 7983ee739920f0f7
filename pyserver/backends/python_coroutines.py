"""`async def execute`: one event loop in a thread of its own, made when the first coroutine comes.

Not decoupled models wait for each batch's coroutine; decoupled ones run many at once.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from pyserver._core import look_on_for_calls
from pyserver.backends.python_traceback import describe_error

if TYPE_CHECKING:
    from pyserver._core import InferenceRequest


class CoroutineRunner:
    """Used by the instance's thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # `is_ready` comes from a thread of its own

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Runs it to its end; its result, or what it raised."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._running()).result()

    def start(
        self, coroutine: Coroutine[Any, Any, Any], requests: list[InferenceRequest], instance: str
    ) -> None:
        """Lets it run. What it raises becomes the error of those requests that are still open."""
        asyncio.run_coroutine_threadsafe(_guarded(coroutine, requests, instance), self._running())

    def stop(self) -> None:
        """Cancels what still runs and ends the thread."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = _new_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="execute", daemon=True
                )
                self._thread.start()
            return self._loop


class _Selector(selectors.EpollSelector):
    """While calls of other models are outstanding it looks on before it sleeps, as `exec` does."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        sleeps = timeout is None or timeout > 0
        if sleeps and look_on_for_calls(self.fileno(), timeout):
            timeout = 0
        return super().select(timeout)


def _new_loop() -> asyncio.AbstractEventLoop:
    """As the model's policy makes them; where that is Python's own, with our selector."""
    loop = asyncio.new_event_loop()
    if type(loop) is not asyncio.SelectorEventLoop:
        return loop
    loop.close()
    return asyncio.SelectorEventLoop(_Selector())


async def _guarded(
    coroutine: Coroutine[Any, Any, Any], requests: list[InferenceRequest], instance: str
) -> None:
    error = ""
    try:
        returned = await coroutine
        if returned is not None:
            error = (
                f"Python model '{instance}' is using the decoupled mode and the execute function"
                " must return None."
            )
    except Exception as raised:
        error = describe_error(raised)
    if error:
        text = f"Failed to process the request(s) for model '{instance}', message: {error}"
        for request in requests:
            request.fail(text)


async def _cancel_others() -> None:
    own = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not own]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
