"""Sends as many responses as INPUT0 says; each carries its own number sixteen times."""

import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            (count,) = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            for number in range(count):
                answer = pb_utils.Tensor("OUTPUT0", numpy.full(16, number, numpy.float32))
                sender.send(pb_utils.InferenceResponse([answer]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
