"""`stream`, ours alone: a generator for each request, whose every `yield` is a response.

    class TritonPythonModel:
        def stream(self, request):                # or: async def
            for word in ...:
                yield {"OUT": np.array([word], dtype=object)}     # or an InferenceResponse

It is looked for only in a class without `execute`, which Triton refuses, so that no model written
for Triton meets it by accident. The end of the generator is the end of the request; what it raises
is the request's last response; a cancelled request's generator is closed.

Generators of a batch take turns in the instance's own thread, one `yield` each, so that the model's
code needs no locks, as in `execute`; one whose client has too much to read is passed over. Those of
an `async def` all run in one event loop, new ones beside old ones, at most `MAX_STREAMS` at once.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pyserver._core import InferenceResponse, Tensor, TritonError
from pyserver.backends.python_coroutines import CoroutineRunner
from pyserver.backends.python_traceback import describe_error

if TYPE_CHECKING:
    from pyserver._core import Executor, InferenceRequest, InferenceResponseSender

log = logging.getLogger(__name__)

MAX_STREAMS: Final = 64
_FINAL: Final = 1  # TRITONSERVER_RESPONSE_COMPLETE_FINAL
_FIRST_NAP_S: Final = 0.0001
_LONGEST_NAP_S: Final = 0.005
_LOOK_EVERY_S: Final = 0.02  # for cancelled requests whose generator waits for something
_CANCELLED: Final = "the request was cancelled"


class _WrongYield(Exception):
    """What a generator gave is against the rules; the text says it all."""


class Streams:
    """Stands where `execute` stands in other models: `run` is given each batch's requests."""

    def __init__(
        self,
        stream: Callable[[InferenceRequest], Any],
        *,
        instance: str,
        decoupled: bool,
        coroutines: CoroutineRunner,
        after_step: Callable[[], None],
    ) -> None:
        """`after_step` is called whenever the model's code has run in this thread."""
        self._stream = stream
        self._instance = instance
        self._decoupled = decoupled
        self._coroutines = coroutines
        self._after_step = after_step
        self._is_async = inspect.isasyncgenfunction(stream)
        self._executor: Executor | None = None
        self._places = threading.Semaphore(MAX_STREAMS)
        self._live: dict[asyncio.Task[Any], InferenceResponseSender] = {}
        self._watch: asyncio.Task[None] | None = None

    def open(self, executor: Executor) -> None:
        self._executor = executor

    def run(self, requests: list[InferenceRequest]) -> Any:
        """As `execute`: None where senders answer, else the responses, or a coroutine of them."""
        if self._decoupled:
            if self._is_async:
                self._start(requests)
            else:
                self._take_turns(requests)
            return None
        if self._is_async:
            return self._answer_together(requests)
        return [self._only_response(request) for request in requests]

    def failure(self, error: str) -> str:
        return f"Failed to process the request(s) for model '{self._instance}', message: {error}"

    # --- in the instance's thread ---

    def _take_turns(self, requests: list[InferenceRequest]) -> None:
        assert self._executor is not None
        live = deque(_Turns(self, request) for request in requests)
        nap_s = _FIRST_NAP_S
        while live:
            moved = False
            for _ in range(len(live)):
                one = live.popleft()
                if one.held_up:
                    live.append(one)
                    continue
                moved = True
                if one.step():
                    live.append(one)
            if moved:
                nap_s = _FIRST_NAP_S
            else:
                self._executor.wait_for_return(nap_s)
                nap_s = min(2 * nap_s, _LONGEST_NAP_S)

    def begin(self, request: InferenceRequest) -> Iterator[Any]:
        made = self._stream(request)
        if not hasattr(made, "__next__"):
            raise _WrongYield(
                f"stream must be a generator, or an async def with yield: it returned {type(made)}"
            )
        iterator: Iterator[Any] = made
        return iterator

    def after_step(self) -> None:
        self._after_step()

    def _only_response(self, request: InferenceRequest) -> InferenceResponse:
        error = ""
        try:
            generator = self.begin(request)
            try:
                made = as_response(next(generator, _NOTHING))
                if next(generator, _NOTHING) is not _NOTHING:
                    raise _WrongYield(self._too_many())
                return made
            finally:
                _close(generator)
        except Exception as raised:
            error = describe_error(raised)
        finally:
            self._after_step()
        return InferenceResponse(error=TritonError(self.failure(error)))

    def _too_many(self) -> str:
        return (
            "stream yielded more than one response, but the model is not decoupled; its config"
            " needs model_transaction_policy { decoupled: true }"
        )

    # --- in the event loop ---

    async def _answer_together(self, requests: list[InferenceRequest]) -> list[InferenceResponse]:
        return list(await asyncio.gather(*(self._only_async(request) for request in requests)))

    async def _only_async(self, request: InferenceRequest) -> InferenceResponse:
        error = ""
        try:
            generator = self._stream(request)
            try:
                made = as_response(await anext(generator, _NOTHING))
                if await anext(generator, _NOTHING) is not _NOTHING:
                    raise _WrongYield(self._too_many())
                return made
            finally:
                await _aclose(generator)
        except Exception as raised:
            error = describe_error(raised)
        return InferenceResponse(error=TritonError(self.failure(error)))

    def _start(self, requests: list[InferenceRequest]) -> None:
        for request in requests:
            self._places.acquire()
            self._coroutines.start(self._pump(request), [request], self._instance)

    def _pump(self, request: InferenceRequest) -> Coroutine[Any, Any, None]:
        return self._pumped(request, request.get_response_sender())

    async def _pumped(self, request: InferenceRequest, sender: InferenceResponseSender) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._live[task] = sender
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._watch_cancellations())
        error = ""
        try:
            await self._send_all(self._stream(request), sender)
        except asyncio.CancelledError:
            if not sender.is_cancelled():  # we are being stopped, or it has cancelled itself
                request.fail(self.failure("its stream was cancelled"))
                raise
        except Exception as raised:
            error = describe_error(raised)
        finally:
            del self._live[task]
            self._places.release()
        finish(request, sender, self.failure(error) if error else "")

    async def _send_all(self, generator: AsyncIterator[Any], sender: Any) -> None:
        try:
            async for item in generator:
                response = as_response(item)
                del item
                nap_s = _FIRST_NAP_S
                while not sender.has_room():
                    await asyncio.sleep(nap_s)
                    nap_s = min(2 * nap_s, _LONGEST_NAP_S)
                if sender.is_cancelled():
                    return
                sender.send(response)
                del response
                await asyncio.sleep(0)  # the others' turn, also when this one never waits
        finally:
            await _aclose(generator)

    async def _watch_cancellations(self) -> None:
        """For generators that wait: the others notice it themselves."""
        try:
            while self._live:
                await asyncio.sleep(_LOOK_EVERY_S)
                for task, sender in self._live.items():
                    if sender.is_cancelled() and not task.cancelling():
                        task.cancel()
        finally:
            self._watch = None


class _Turns:
    """One request's generator in the instance's thread, and where its responses go."""

    def __init__(self, streams: Streams, request: InferenceRequest) -> None:
        self._streams = streams
        self._request = request
        self._sender = request.get_response_sender()
        self._generator: Iterator[Any] | None = None

    @property
    def held_up(self) -> bool:
        """Its client has too much to read already."""
        return not self._sender.has_room()

    def step(self) -> bool:
        """Sends the next response; False when that was the end."""
        error = ""
        try:
            if self._sender.is_cancelled():
                return self._end("")
            if self._generator is None:
                self._generator = self._streams.begin(self._request)
            item = next(self._generator, _NOTHING)
            if item is _NOTHING:
                return self._end("")
            self._sender.send(as_response(item))
            return True
        except Exception as raised:
            error = describe_error(raised)
        finally:
            self._streams.after_step()
        return self._end(self._streams.failure(error))

    def _end(self, error: str) -> bool:
        # What the generator's frame kept is gone before the final mark says that all is read.
        generator, self._generator = self._generator, None
        _close(generator)
        del generator
        finish(self._request, self._sender, error)
        return False


_NOTHING: Final = object()


def as_response(item: Any) -> InferenceResponse:
    """What was yielded: an InferenceResponse, or a dict of arrays by output name."""
    if isinstance(item, InferenceResponse):
        return item
    if isinstance(item, Mapping):
        return InferenceResponse([Tensor(name, np.asarray(value)) for name, value in item.items()])
    if item is _NOTHING:
        raise _WrongYield(
            "stream ended without a response; of a model that is not decoupled it yields one"
        )
    raise _WrongYield(
        "stream must yield an InferenceResponse, or a dict of arrays by output name; it yielded"
        f" {type(item)}"
    )


def finish(request: InferenceRequest, sender: InferenceResponseSender, error: str) -> None:
    """The last word on a request: the error, that it was cancelled, or nothing but the end."""
    if error:
        request.fail(error)  # without waiting until its client has read what came before
    elif sender.is_cancelled():
        told = TritonError(_CANCELLED, TritonError.CANCELLED)
        sender.send(InferenceResponse(error=told), _FINAL)
    else:
        sender.send(flags=_FINAL)


def _close(generator: Any) -> None:
    close = getattr(generator, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception:
        log.exception("a stream could not be closed")


async def _aclose(generator: Any) -> None:
    aclose = getattr(generator, "aclose", None)
    if aclose is None:
        return
    try:
        await aclose()
    except Exception:
        log.exception("a stream could not be closed")
