"""What came as parameters goes back, as text and as the response's own."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            given = json.loads(request.parameters())
            text = json.dumps(given, sort_keys=True)
            responses.append(
                pb_utils.InferenceResponse(
                    [pb_utils.Tensor("TEXT", np.array([text], dtype=object))],
                    parameters={**given, "seen": True, "number": 7, "word": "said"},
                )
            )
        return responses
