"""Decoupled: what execute raises, or returns."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            count = int(pb_utils.get_input_tensor_by_name(request, "COUNT").as_numpy()[0])
            if count == 0:
                raise ValueError("raised in execute")
            if count == 1:
                return [pb_utils.InferenceResponse([])]
            request.get_response_sender().send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
