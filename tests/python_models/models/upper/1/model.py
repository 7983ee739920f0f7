"""Strings in and out: bytes in object arrays, text, and numpy's fixed-width bytes."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            assert given.dtype == np.object_ and all(type(one) is bytes for one in given.ravel())
            upper = np.array([one.decode().upper() for one in given.ravel()], dtype=object)
            fixed = np.array([one[:3] for one in given.ravel()], dtype=np.bytes_)
            lengths = np.array([len(one) for one in given.ravel()], np.int32)
            responses.append(
                pb_utils.InferenceResponse(
                    [
                        pb_utils.Tensor("UPPER", upper.reshape(given.shape)),
                        pb_utils.Tensor("FIXED", fixed.reshape(given.shape)),
                        pb_utils.Tensor("LENGTHS", lengths.reshape(given.shape)),
                    ]
                )
            )
        return responses
