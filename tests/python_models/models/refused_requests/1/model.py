"""Requests that cannot be made, and what a request refuses."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


def text_of(call):
    try:
        return str(call())
    except Exception as error:
        # The first line: signatures follow that differ between builds.
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"


def ask(**more):
    given = {
        "model_name": "plus_one",
        "inputs": [pb_utils.Tensor("X", np.array([1], np.float32))],
        "requested_output_names": ["Z"],
    }
    return pb_utils.InferenceRequest(**{**given, **more})


CASES = {
    "correlation": lambda request: ask(correlation_id=1.5),
    "correlation none": lambda request: ask(correlation_id=None),
    "parameters": lambda request: ask(parameters={"a": 1.5}),
    "parameters list": lambda request: ask(parameters={"a": [1]}),
    "parameters keys": lambda request: ask(parameters={1: 1}),
    "parameters text": lambda request: json.loads(ask(parameters={"a": 1}).parameters()),
    "empty output": lambda request: ask(requested_output_names=[""]),
    "none as input": lambda request: ask(inputs=[None]),
    "no model": lambda request: pb_utils.InferenceRequest(inputs=[], requested_output_names=[]),
    "wrong timeout": lambda request: ask(timeout=-1),
    "wrong id": lambda request: ask(request_id=5),
    "wrong memory": lambda request: ask(preferred_memory="CPU"),
    "flags": lambda request: ask(flags=3).flags(),
    "set_flags": lambda request: set_flags(ask()),
    "release flags, all": lambda request: request.set_release_flags(
        pb_utils.TRITONSERVER_REQUEST_RELEASE_ALL
    ),
}


def set_flags(request):
    request.set_flags(2)
    return request.flags()


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            kind = pb_utils.get_input_tensor_by_name(request, "KIND").as_numpy()[0].decode()
            text = text_of(lambda: CASES[kind](request))
            tensor = pb_utils.Tensor("TEXT", np.array([text], dtype=object))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses
