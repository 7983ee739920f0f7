"""All that a request says of itself."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            told = {
                "id": request.request_id(),
                "correlation": request.correlation_id(),
                "flags": request.flags(),
                "timeout": request.timeout(),
                "outputs": sorted(request.requested_output_names()),
                "inputs": [
                    [one.name(), list(one.shape()), one.is_cpu()] for one in request.inputs()
                ],
                "cancelled": request.is_cancelled(),
                "missing": pb_utils.get_input_tensor_by_name(request, "nothing") is None,
            }
            responses.append(
                pb_utils.InferenceResponse(
                    [
                        pb_utils.Tensor("TEXT", np.array([json.dumps(told)], dtype=object)),
                        pb_utils.Tensor("OTHER", np.array([5], np.int32)),
                    ]
                )
            )
        return responses
