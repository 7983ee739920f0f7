"""Adds up each sequence's inputs; the state is found by the correlation id that a control tells."""

import numpy as np
import triton_python_backend_utils as pb_utils


def _control(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)[0]


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}
        self.batches = 0

    def execute(self, requests):
        self.batches += 1
        responses = []
        for place, request in enumerate(requests):
            key = _control(request, "CORRID")
            value = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy().reshape(-1)[0]
            start, ready, end = (_control(request, name) for name in ("START", "READY", "END"))
            if ready:
                before = 0 if start else self.sums[key]
                self.sums[key] = before + value
            told = [self.sums.get(key, -1), start, ready, end, place, len(requests), self.batches]
            output = np.array(told, np.int64)
            output = output.reshape(1, -1)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", output)]))
            if ready and end:
                del self.sums[key]
        return responses
