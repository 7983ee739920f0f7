"""JOINED is LEFT + RIGHT, element by element."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            left = pb_utils.get_input_tensor_by_name(request, "LEFT").as_numpy()
            right = pb_utils.get_input_tensor_by_name(request, "RIGHT").as_numpy()
            joined = np.array([a + b for a, b in zip(left, right, strict=True)], dtype=object)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("JOINED", joined)]))
        return responses
