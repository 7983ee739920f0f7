"""Carries out the calls with Triton's own client and notes what came."""

from __future__ import annotations

import queue
import re
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.python_models.call import Call

# A real Triton that never answers is recorded as that.
_PATIENCE_S = 8
MODELS = Path(__file__).with_name("models")
# What differs between two right servers: frames of one installation, addresses, folders.
_FRAMES = re.compile(r"\n\nAt:\n.*", re.DOTALL)
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_FOLDER = re.compile(r"/\S*/(models|python_models)/")


def load_all(client: Any) -> dict[str, str]:
    """Loads every model; the errors of those that cannot be."""
    errors: dict[str, str] = {}
    for folder in sorted(MODELS.iterdir()):
        try:
            client.load_model(folder.name)
        except InferenceServerException as error:
            errors[folder.name] = stable(f"{error.status()}: {error.message()}")

    return errors


def stable(text: str) -> str:
    return _FOLDER.sub("<models>/", _ADDRESS.sub("<address>", _FRAMES.sub("", text)))


def run(client: Any, call: Call) -> Any:
    """Its answer, or the list of all answers of a stream."""
    inputs = []
    for name, array in call.inputs.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    outputs = [triton.InferRequestedOutput(name) for name in call.outputs] or None
    if call.stream:
        return _stream(client, call, inputs, outputs)
    try:
        result = client.infer(
            call.model, inputs, outputs=outputs, client_timeout=_PATIENCE_S, **call.options
        )
    except InferenceServerException as error:
        return _error(error)
    return _answer(result)


def _stream(client: Any, call: Call, inputs: list[Any], outputs: Any) -> list[Any]:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    try:
        client.async_stream_infer(
            call.model, inputs, outputs=outputs, enable_empty_final_response=True, **call.options
        )
        seen: list[Any] = []
        while True:
            try:
                result, error = answers.get(timeout=_PATIENCE_S)
            except queue.Empty:
                return [*seen, "nothing more came"]
            if error is not None:
                seen.append(_error(error))
                continue
            seen.append(_answer(result))
            if result.get_response().parameters["triton_final_response"].bool_param:
                return seen
    finally:
        client.stop_stream()


def _error(error: InferenceServerException) -> dict[str, Any]:
    return {"status": str(error.status()), "error": stable(str(error.message()))}


def _answer(result: Any) -> dict[str, Any]:
    response = result.get_response()
    outputs = {}
    for output in response.outputs:
        array = result.as_numpy(output.name)
        outputs[output.name] = {
            "datatype": output.datatype,
            "shape": list(output.shape),
            "data": [_plain(one) for one in np.ravel(array)],
        }
    parameters = {
        name: getattr(value, value.WhichOneof("parameter_choice"))
        for name, value in sorted(response.parameters.items())
    }
    return {"outputs": outputs} | ({"parameters": parameters} if parameters else {})


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return stable(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, np.floating):
        return repr(float(value))
    return value.item()
