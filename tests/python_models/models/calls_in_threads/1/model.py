"""Calls from a pool of threads within execute."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.pool = ThreadPoolExecutor(4)

    def ask(self, value):
        request = pb_utils.InferenceRequest(
            model_name="plus_one",
            requested_output_names=["Y"],
            inputs=[pb_utils.Tensor("X", np.array([value], np.float32))],
        )
        response = request.exec()
        return pb_utils.get_output_tensor_by_name(response, "Y").as_numpy()[0]

    def execute(self, requests):
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            found = np.array(list(self.pool.map(self.ask, x)), np.float32)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("Z", found)]))
        return responses

    def finalize(self):
        self.pool.shutdown()
