"""An iterative sequence that is decoupled: one response a step, and the request comes again."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.left = {}

    def execute(self, requests):
        for request in requests:
            key = int(pb_utils.get_input_tensor_by_name(request, "CORRID").as_numpy()[0, 0])
            steps = pb_utils.get_input_tensor_by_name(request, "STEPS").as_numpy()
            start = pb_utils.get_input_tensor_by_name(request, "START").as_numpy()
            if start[0, 0]:
                self.left[key] = int(steps[0, 0])
            self.left[key] -= 1
            left = self.left[key]
            final = 0
            if left > 0:
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            else:
                final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
                del self.left[key]
            tensor = pb_utils.Tensor("LEFT", np.array([[left]], np.int32))
            request.get_response_sender().send(pb_utils.InferenceResponse([tensor]), flags=final)
        return None
