"""SCORES, COUNTS and HALVES are INPUT0 as FP32, INT32 and FP16; they come in that order."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            made = {
                "SCORES": given,
                "COUNTS": given.astype(np.int32),
                "HALVES": given.astype(np.float16),
            }
            wanted = request.requested_output_names()
            responses.append(
                pb_utils.InferenceResponse(
                    [pb_utils.Tensor(name, made[name]) for name in made if name in wanted]
                )
            )
        return responses
