"""What a call may say of itself, and what the called model hears of it."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

# What a server does not have is asked for by those calls only that want it.
CASES = {
    "nothing": dict,
    "id": lambda: {"request_id": "mine"},
    "timeout": lambda: {"timeout": 5_000_000},
    "correlation": lambda: {"correlation_id": 12},
    "correlation text": lambda: {"correlation_id": "twelve"},
    "flags": lambda: {"correlation_id": 3, "flags": 3},
    "version": lambda: {"model_version": 1},
    "memory": lambda: {
        "preferred_memory": pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU)
    },
    "memory and device": lambda: {
        "preferred_memory": pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0)
    },
    "parameters": lambda: {"parameters": {"a": True, "b": 2, "c": "x"}},
    "traced": dict,
}


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            kind = pb_utils.get_input_tensor_by_name(request, "KIND").as_numpy()[0].decode()
            more = CASES[kind]()
            if kind == "traced":
                more["trace"] = request.trace()
            inner = pb_utils.InferenceRequest(
                model_name="attributes",
                requested_output_names=["TEXT"],
                inputs=[pb_utils.Tensor("X", np.array([1], np.float32))],
                **more,
            )
            own = json.dumps(
                [
                    inner.request_id(),
                    inner.correlation_id(),
                    inner.flags(),
                    inner.timeout(),
                    json.loads(inner.parameters()),
                    [one.name() for one in inner.inputs()],
                    list(inner.requested_output_names()),
                ]
            )
            response = inner.exec()
            if response.has_error():
                told = [f"error {response.error().code()}: {response.error().message()}"]
            else:
                tensor = pb_utils.get_output_tensor_by_name(response, "TEXT")
                told = [tensor.as_numpy()[0].decode(), str(tensor.is_cpu())]
            if kind == "traced":
                told.append(str(request.trace().get_context()))
            tensor = pb_utils.Tensor("TEXT", np.array([own, *told], dtype=object))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses
