"""What others call: X + 1 and X * 2; thirteen is an error."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            if (x == 13).any():
                error = pb_utils.TritonError("thirteen is refused", pb_utils.TritonError.NOT_FOUND)
                responses.append(pb_utils.InferenceResponse(error=error))
                continue
            if (x == 14).any():
                raise ValueError("fourteen raises")
            responses.append(
                pb_utils.InferenceResponse(
                    [pb_utils.Tensor("Z", x + 1), pb_utils.Tensor("Y", x * 2)]
                )
            )
        return responses
