"""The Python backend: runs the `TritonPythonModel` of a model's model.py, one instance per process.

The user's code finds its API as the module `triton_python_backend_utils`. Whatever it raises
becomes the error of the requests it was given, with the frames of the model's own code.
Source: Triton's python_backend.
"""

from __future__ import annotations

import gc
import inspect
import os
from typing import TYPE_CHECKING, Any

from pyserver.backends.interface import InstanceInfo, ModelInfo, Server
from pyserver.backends.python_coroutines import CoroutineRunner
from pyserver.backends.python_metrics import report_metrics
from pyserver.backends.python_model import import_model_class
from pyserver.backends.python_model_config import ModelConfig
from pyserver.backends.python_server import connection
from pyserver.backends.python_stream import Streams
from pyserver.backends.python_traceback import describe_error
from pyserver.errors import InternalError, InvalidArgumentError

if TYPE_CHECKING:
    from pyserver._core import Batch, Executor, InferenceRequest, InferenceResponse


class PythonBackend:
    """Imports the model's module once, for `describe` and `load`."""

    def __init__(self) -> None:
        self._model_class: type[Any] | None = None

    def connect(self, server: Server) -> None:
        connection.server = server

    def preload(self, model: ModelInfo) -> None:
        """Imports the module, and calls the class's `preload(args)`, if it has one."""
        model_class = self._import(model)
        hook = inspect.getattr_static(model_class, "preload", None)
        if hook is None:
            return
        if not isinstance(hook, staticmethod | classmethod):
            raise InvalidArgumentError(
                f"'preload' of model '{model.name}' must be a static method or a class method,"
                " since it is called before there is an instance"
            )
        try:
            model_class.preload(_model_args(model))
        except Exception as error:
            raise InternalError(describe_error(error)) from error

    def describe(self, model: ModelInfo) -> dict[str, Any] | None:
        complete = getattr(self._import(model), "auto_complete_config", None)
        if complete is None:
            return None
        try:
            answer = complete(ModelConfig(model.config_text))
        except Exception as error:
            raise InternalError(describe_error(error)) from error
        if not isinstance(answer, ModelConfig):
            raise InternalError(
                f"auto_complete_config function in model '{model.name}' must return a valid"
                " pb.ModelConfig object."
            )
        return answer.as_dict()

    def load(self, model: ModelInfo) -> PythonModel:
        return PythonModel(model, self._import(model))

    def _import(self, model: ModelInfo) -> type[Any]:
        if self._model_class is None:
            self._model_class = import_model_class(model)
        return self._model_class


class PythonModel:
    """The user's class; an instance of ours makes an object of it."""

    def __init__(self, model: ModelInfo, model_class: type[Any]) -> None:
        self._model = model
        self._model_class = model_class

    def make_instance(self, info: InstanceInfo) -> PythonInstance:
        connection.instance, connection.open = info.name, True
        try:
            user = self._model_class()
            initialize = getattr(user, "initialize", None)
            if initialize is not None:
                initialize(_initialize_args(self._model, info))
        except Exception as error:
            raise InternalError(describe_error(error)) from error
        # What was imported and loaded stays: the collector need not walk it for every request.
        gc.collect()
        gc.freeze()
        return PythonInstance(self._model, info, user)


class PythonInstance:
    """Calls `execute` (or what stands for it) for each batch, in the main thread."""

    def __init__(self, model: ModelInfo, info: InstanceInfo, user: Any) -> None:
        self._model = model
        self._name = info.name
        self._user = user
        self._coroutines = CoroutineRunner()
        self._streams = None if hasattr(user, "execute") else self._make_streams(user.stream)
        self._execute = user.execute if self._streams is None else self._streams.run
        self._forked = False
        os.register_at_fork(after_in_child=self._after_fork)

    def _make_streams(self, stream: Any) -> Streams:
        return Streams(
            stream,
            instance=self._name,
            decoupled=self._model.decoupled,
            coroutines=self._coroutines,
            after_step=self._leave_if_forked,
        )

    def run(self, executor: Executor) -> None:
        if self._streams is not None:
            self._streams.open(executor)
        executor.open_calls()
        try:
            self._run(executor)
        finally:
            executor.close_calls()

    def _run(self, executor: Executor) -> None:
        handle = self._decoupled if self._model.decoupled else self._answer
        while (batch := executor.next_batch()) is not None:
            error = ""
            try:
                handle(batch)
            except Exception as raised:
                error = describe_error(raised)
            # The exception and its frames are gone here, and with them the views they kept.
            if error:
                batch.fail(
                    InternalError.code,
                    f"Failed to process the request(s) for model '{self._name}', message: {error}",
                )
            batch.done()
            del batch

    def finalize(self) -> None:
        self._coroutines.stop()
        connection.open = False
        finalize = getattr(self._user, "finalize", None)
        try:
            if finalize is not None:
                finalize()
        finally:
            report_metrics()

    @property
    def has_readiness(self) -> bool:
        return callable(getattr(self._user, "is_ready", None))

    def is_ready(self) -> bool:
        """What the model's `is_ready` says; a coroutine runs where `execute`'s do."""
        answer = self._user.is_ready()
        if inspect.iscoroutine(answer):
            answer = self._coroutines.wait(answer)
        if not isinstance(answer, bool):
            raise TypeError(f"is_ready must return a bool, found type {type(answer)}")
        return answer

    def _answer(self, batch: Batch) -> None:
        requests = batch.requests
        batch.mark_input_end()
        responses = self._call(requests)
        if inspect.iscoroutine(responses):
            responses = self._coroutines.wait(responses)
        batch.mark_output_start()
        if responses is None:  # response senders answer all of them
            responses = [None] * len(batch)
        if not isinstance(responses, list):
            raise _WrongReturn(
                f"Expected a list in the execute return, found type '{type(responses)}'."
            )
        batch.answer(requests, responses)

    def _decoupled(self, batch: Batch) -> None:
        requests = batch.requests
        batch.mark_input_end()
        returned = self._call(requests)
        if inspect.iscoroutine(returned):
            self._coroutines.start(returned, requests, self._name)
            returned = None
        batch.mark_output_start()
        if returned is not None:
            raise _WrongReturn(
                f"Python model '{self._name}' is using the decoupled mode and the execute function"
                " must return None."
            )
        batch.reschedule()

    def _call(self, requests: list[InferenceRequest]) -> list[InferenceResponse | None] | Any:
        try:
            return self._execute(requests)
        finally:
            self._leave_if_forked()

    def _leave_if_forked(self) -> None:
        if self._forked:
            # A fork that comes back from the model's code must not answer for its parent.
            os._exit(0)

    def _after_fork(self) -> None:
        self._forked = True


class _WrongReturn(Exception):
    """What `execute` returned is against the rules; the text says it all."""


def _initialize_args(model: ModelInfo, info: InstanceInfo) -> dict[str, str]:
    return {
        "model_instance_kind": info.kind.removeprefix("KIND_"),
        "model_instance_device_id": str(info.device_id),
        "model_instance_name": info.name,
        **_model_args(model),
    }


def _model_args(model: ModelInfo) -> dict[str, str]:
    return {
        "model_config": model.config_text,
        "model_repository": str(model.model_dir),
        "model_version": str(model.version),
        "model_name": model.name,
    }
