"""B_TEXT, D_HALF, A_SUM and the always empty C_EMPTY, in that order, whatever is asked for."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            text = np.array([str(value).encode() for value in given], dtype=object)
            responses.append(
                pb_utils.InferenceResponse(
                    [
                        pb_utils.Tensor("B_TEXT", text),
                        pb_utils.Tensor("D_HALF", given.astype(np.float16)),
                        pb_utils.Tensor("A_SUM", np.array([given.sum()], dtype=np.int64)),
                        pb_utils.Tensor("C_EMPTY", np.zeros([0], dtype=np.float32)),
                    ]
                )
            )
        return responses
