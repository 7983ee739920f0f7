"""A server for one check: reachable by a socket's name in a folder of its own, never by a port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc

from pyserver.control.grpc_stubs import grpc_service_pb2 as messages
from pyserver.errors import InternalError, ServerError, UnavailableError, make_error
from pyserver.settings import Settings

_SERVICE: Final = "/inference.GRPCInferenceService/"
_STARTS_WITHIN_S: Final = 60.0
_ENDS_WITHIN_S: Final = 15.0
_MOST_RESPONSES: Final = 100
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
)


class PrivateServer:
    """Talks to a server that `private_server` has started. May be used in threads."""

    def __init__(self, channel: grpc.Channel, timeout_s: float) -> None:
        self._channel = channel
        self._timeout_s = timeout_s

    def load(self, name: str) -> None:
        """Raises a ServerError with the server's text."""
        request = messages.RepositoryModelLoadRequest(model_name=name)
        self._call("RepositoryModelLoad", request, messages.RepositoryModelLoadResponse)

    def config(self, name: str) -> bytes:
        """The config that the loaded model is served with, serialized."""
        request = messages.ModelConfigRequest(name=name)
        answer = self._call("ModelConfig", request, messages.ModelConfigResponse)
        serialized: bytes = answer.config.SerializeToString()
        return serialized

    def infer(self, request: messages.ModelInferRequest) -> list[messages.ModelInferResponse]:
        """All responses with outputs, or the first hundred; raises a ServerError."""
        call = self._channel.stream_stream(
            f"{_SERVICE}ModelStreamInfer",
            request_serializer=messages.ModelInferRequest.SerializeToString,
            response_deserializer=messages.ModelStreamInferResponse.FromString,
        )
        responses = []
        answers = call(iter([request]), timeout=self._timeout_s)
        try:
            for answer in answers:
                if answer.error_message:
                    raise InternalError(answer.error_message)
                responses.append(answer.infer_response)
                if len(responses) >= _MOST_RESPONSES:
                    answers.cancel()
                    break
        except grpc.RpcError as error:
            raise _error_of(error, self._timeout_s) from error
        return responses

    def _call(self, method: str, request: Any, answer_type: Any) -> Any:
        call = self._channel.unary_unary(
            f"{_SERVICE}{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer_type.FromString,
        )
        try:
            return call(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise _error_of(error, self._timeout_s) from error


def _error_of(error: Any, timeout_s: float) -> ServerError:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return UnavailableError(f"no answer within {timeout_s:g} s")
    return make_error(InternalError.code, str(error.details()))


@contextmanager
def private_server(
    repository: Path, settings: Settings, timeout_s: float
) -> Iterator[PrivateServer]:
    """Starts one that has loaded nothing, and ends it. Raises UnavailableError if it does not
    start. `timeout_s` is for each call.
    """
    with tempfile.TemporaryDirectory(prefix="pyserver-check-") as folder:
        address = f"unix:{folder}/s"
        log = Path(folder, "log")
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pyserver.check.serve",
                str(os.getpid()),
                *_flags(repository, settings, address, log),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            with grpc.insecure_channel(address, options=_OPTIONS) as channel:
                _wait(process, channel, log)
                yield PrivateServer(channel, timeout_s)
        finally:
            _end(process)


def _flags(repository: Path, settings: Settings, address: str, log: Path) -> list[str]:
    flags = [
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        "--exit-on-error=false",
        "--allow-http=false",
        "--allow-metrics=false",
        f"--grpc-address={address}",
        "--frontend-workers=1",
        "--exit-timeout-secs=5",
        f"--log-file={log}",
    ]
    if settings.model_config_name:
        flags.append(f"--model-config-name={settings.model_config_name}")
    for name, key, value in settings.backend_config:
        flags.append(f"--backend-config={name + ',' if name else ''}{key}={value}")
    return flags


def _wait(process: subprocess.Popen[bytes], channel: grpc.Channel, log: Path) -> None:
    ready = channel.unary_unary(
        f"{_SERVICE}ServerReady",
        request_serializer=messages.ServerReadyRequest.SerializeToString,
        response_deserializer=messages.ServerReadyResponse.FromString,
    )
    for _ in range(int(_STARTS_WITHIN_S)):
        if process.poll() is not None:
            break
        try:
            if ready(messages.ServerReadyRequest(), wait_for_ready=True, timeout=1.0).ready:
                return
        except grpc.RpcError:
            continue
    said = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
    raise UnavailableError(f"the server of the check did not start: {' | '.join(said)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()  # its children end with it
        process.wait()
