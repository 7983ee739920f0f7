"""Walks a whole sequence of another model, twice at once, interleaved."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.target = config["parameters"]["target"]["string_value"]
        self.next_id = 1000

    def step(self, correlation_id, value, flags):
        request = pb_utils.InferenceRequest(
            model_name=self.target,
            requested_output_names=["SUM"],
            inputs=[pb_utils.Tensor("X", np.array([value], np.int32))],
            correlation_id=correlation_id,
            flags=flags,
        )
        response = request.exec()
        if response.has_error():
            raise pb_utils.TritonModelException(response.error().message())
        return pb_utils.get_output_tensor_by_name(response, "SUM").as_numpy()[0]

    def execute(self, requests):
        responses = []
        for request in requests:
            values = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            one, other = self.next_id, self.next_id + 1
            self.next_id += 2
            sums = []
            for index, value in enumerate(values):
                flags = 0
                if index == 0:
                    flags |= pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
                if index == len(values) - 1:
                    flags |= pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END
                sums.append(self.step(one, value, flags))
                sums.append(self.step(other, -value, flags))
            tensor = pb_utils.Tensor("SUMS", np.array(sums, np.int32))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses
