"""Answers INPUT0 times, each time with the number of the answer.

-1 fails in the answer that is the final one; -2 answers once, fails, and then ends; -3 raises.
"""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            count = int(pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()[0])
            failure = pb_utils.InferenceResponse(error=pb_utils.TritonError("asked to fail"))
            if count == -3:
                raise ValueError("asked to raise")
            if count == -1:
                sender.send(failure, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                continue
            for index in range(1 if count == -2 else count):
                tensor = pb_utils.Tensor("OUTPUT0", np.array([index], dtype=np.int32))
                sender.send(pb_utils.InferenceResponse([tensor]))
            if count == -2:
                sender.send(failure)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
