"""A step's request as tritonclient sends it, and what came back as the recording keeps it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from tests.scheduling.steps import Send

ANSWER_WITHIN_S = 15.0


def _array(values: Any) -> np.ndarray[Any, Any]:
    array = np.array(values)
    if array.dtype.kind in "US":
        return np.array(values, dtype=np.object_)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int32)


def _datatype(array: np.ndarray[Any, Any]) -> str:
    return {"f": "FP32", "i": "INT32", "O": "BYTES"}[array.dtype.kind]


def arguments(send: Send, model: str, library: Any) -> dict[str, Any]:
    """What `infer`, `async_infer` and `async_stream_infer` of `library` (tritonclient.grpc or
    .http) are called with.
    """
    one_row: Any = [1] if send.flat else [[1]]
    inputs = []
    for name, values in (send.inputs or {"X": one_row}).items():
        array = _array(values)
        given = library.InferInput(name, list(array.shape), _datatype(array))
        given.set_data_from_numpy(array)
        inputs.append(given)
    asked = [
        library.InferRequestedOutput(name, class_count=send.classes)
        for name in send.outputs or (("OUT",) if send.classes else ())
    ]
    found: dict[str, Any] = {
        "model_name": model,
        "inputs": inputs,
        "outputs": asked or None,
        "model_version": send.version,
        "request_id": send.id,
        "sequence_id": send.sequence,
        "sequence_start": send.start,
        "sequence_end": send.end,
        "priority": send.priority,
        "parameters": dict(send.parameters) or None,
    }
    if send.timeout_us:
        found["timeout"] = send.timeout_us
    return found


def _error(error: InferenceServerException) -> dict[str, Any]:
    status = (error.status() or "").removeprefix("StatusCode.")
    return {"status": status, "error": error.message()}


def _tensors(result: Any, names: list[str]) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    for name in names:
        values = result.as_numpy(name)
        listed = values.tolist()
        if values.dtype.kind == "O":
            listed = [each.decode() for each in values.flat]
        outputs[name] = listed
    return outputs


def _answer(result: Any) -> dict[str, Any]:
    response = result.get_response()
    outputs = _tensors(result, sorted(each.name for each in response.outputs))
    found: dict[str, Any] = {"outputs": outputs}
    parameters = {
        name: getattr(value, value.WhichOneof("parameter_choice"))
        for name, value in sorted(response.parameters.items())
    }
    if parameters:
        found["parameters"] = parameters
    return found


class Call:
    """A request that is out: what has come back for it so far."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.answers: list[dict[str, Any]] = []
        self._over = threading.Event()
        self._context: Any = None

    def start(self, client: triton_grpc.InferenceServerClient, model: str) -> None:
        self._context = client.async_infer(
            callback=self._unary, **arguments(self.send, model, triton_grpc)
        )

    def _unary(self, result: Any, error: InferenceServerException | None) -> None:
        self.answers.append(_error(error) if error is not None else _answer(result))
        self._over.set()

    def cancel(self) -> None:
        self._context.cancel()

    def end(self) -> None:
        self._over.set()

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def wait(self, within_s: float) -> None:
        """Until it is over; what is not in time is noted as unanswered."""
        if not self._over.wait(within_s):
            self.answers.append({"status": "UNANSWERED", "error": ""})
            self.cancel()


class StreamCall(Call):
    """A request over a stream of its own: it is over with its final response or an error."""

    def __init__(self, send: Send, url: str) -> None:
        super().__init__(send)
        self._client = triton_grpc.InferenceServerClient(url)

    def start(self, client: triton_grpc.InferenceServerClient, model: str) -> None:
        self._client.start_stream(callback=self._streamed)
        self._client.async_stream_infer(
            enable_empty_final_response=True, **arguments(self.send, model, triton_grpc)
        )

    def _streamed(self, result: Any, error: InferenceServerException | None) -> None:
        if self._over.is_set():
            return
        if error is not None:
            self.answers.append(_error(error))
            self._over.set()
            return
        answer = _answer(result)
        self.answers.append(answer)
        if answer.get("parameters", {}).get("triton_final_response"):
            self._over.set()

    def cancel(self) -> None:
        self._client.stop_stream(cancel_requests=True)

    def wait(self, within_s: float) -> None:
        super().wait(within_s)
        self._client.close()


def over_http(url: str, send: Send, model: str) -> dict[str, Any]:
    """The answer to a request that is sent over HTTP and waited for."""
    with triton_http.InferenceServerClient(url, network_timeout=ANSWER_WITHIN_S) as client:
        try:
            result = client.infer(**arguments(send, model, triton_http))
        except InferenceServerException as error:
            return _error(error)
        names = sorted(each["name"] for each in result.get_response()["outputs"])
        return {"outputs": _tensors(result, names)}


def connect(port: int) -> triton_grpc.InferenceServerClient:
    return triton_grpc.InferenceServerClient(
        f"127.0.0.1:{port}", channel_args=[("grpc.use_local_subchannel_pool", 1)]
    )
