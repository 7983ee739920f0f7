"""Decoupled: an error between responses; then the end, by an error that is the last."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            count = int(pb_utils.get_input_tensor_by_name(request, "COUNT").as_numpy()[0])
            for number in range(count):
                if number % 3 == 2:
                    error = pb_utils.TritonError(f"no {number}", pb_utils.TritonError.UNAVAILABLE)
                    sender.send(pb_utils.InferenceResponse(error=error))
                else:
                    tensor = pb_utils.Tensor("NUMBER", np.array([number], np.int32))
                    sender.send(pb_utils.InferenceResponse([tensor]))
            error = pb_utils.TritonError("the end", pb_utils.TritonError.NOT_FOUND)
            sender.send(
                pb_utils.InferenceResponse(error=error),
                flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL,
            )
