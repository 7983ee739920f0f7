"""An iterative sequence: a request comes again until its steps are done."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.times = {}

    def execute(self, requests):
        responses = []
        for request in requests:
            steps = int(pb_utils.get_input_tensor_by_name(request, "STEPS").as_numpy()[0, 0])
            key = int(pb_utils.get_input_tensor_by_name(request, "CORRID").as_numpy()[0, 0])
            self.times[key] = self.times.get(key, 0) + 1
            if self.times[key] < steps:
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
                responses.append(None)
            else:
                times = np.array([[self.times.pop(key)]], np.int32)
                responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("TIMES", times)]))
        return responses
