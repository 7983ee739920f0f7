"""Decoupled: threads go on when execute has returned."""

import threading

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.inflight = []

    def execute(self, requests):
        for request in requests:
            count = pb_utils.get_input_tensor_by_name(request, "COUNT").as_numpy()
            thread = threading.Thread(
                target=self.respond, args=(request.get_response_sender(), int(count[0]))
            )
            thread.daemon = True
            self.inflight.append(thread)
            thread.start()
        return None

    def respond(self, sender, count):
        for number in range(count):
            last = number == count - 1
            tensor = pb_utils.Tensor("NUMBER", np.array([number * 10], np.int32))
            sender.send(
                pb_utils.InferenceResponse([tensor]),
                flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0,
            )
        if count == 0:
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def finalize(self):
        for thread in self.inflight:
            thread.join()
