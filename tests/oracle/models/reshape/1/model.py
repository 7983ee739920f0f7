"""OUTPUT0 is INPUT0 as the model sees it; SEEN is the shape the model saw, a row for each row."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            seen = np.tile(np.array(given.shape, dtype=np.int64), (given.shape[0], 1))
            responses.append(
                pb_utils.InferenceResponse(
                    [pb_utils.Tensor("OUTPUT0", given), pb_utils.Tensor("SEEN", seen)]
                )
            )
        return responses
