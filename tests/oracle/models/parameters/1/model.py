"""Every output is one thing that the request says about itself, as the model sees it."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


def _text(value):
    return np.array([value.encode()], dtype=object)


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            names = sorted(request.requested_output_names())
            sorted_parameters = json.dumps(json.loads(request.parameters()), sort_keys=True)
            made = {
                "PARAMETERS": _text(sorted_parameters),
                "REQUEST_ID": _text(request.request_id()),
                "OUTPUTS": np.array([name.encode() for name in names], dtype=object),
                "TIMEOUT": np.array([request.timeout()], dtype=np.int64),
                "FLAGS": np.array([request.flags()], dtype=np.int64),
                "CORRELATION_ID": _text(str(request.correlation_id())),
            }
            responses.append(
                pb_utils.InferenceResponse(
                    [pb_utils.Tensor(name, made[name]) for name in made if name in names]
                )
            )
        return responses
