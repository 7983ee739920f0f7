"""300 MB and five seconds of CPU time, before it can answer with what it was given."""

import time

import numpy as np
import triton_python_backend_utils as pb_utils

ARRAYS, ARRAY_BYTES = 30, 10_000_000
CPU_S = 5.0


class TritonPythonModel:
    def initialize(self, args):
        began_s = time.process_time()
        random = np.random.default_rng(1)
        self.weights = [random.random(ARRAY_BYTES // 4, dtype=np.float32) for _ in range(ARRAYS)]
        while time.process_time() - began_s < CPU_S:
            for array in self.weights:
                array.sort()
                random.shuffle(array[:100_000])

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(
                        "OUTPUT0", pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
                    )
                ]
            )
            for request in requests
        ]
