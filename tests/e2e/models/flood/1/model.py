"""One request at a time, which it answers until its client has all or has gone."""

import itertools

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            count, size = (
                int(pb_utils.get_input_tensor_by_name(request, name).as_numpy()[0])
                for name in ("COUNT", "BYTES")
            )
            sender = request.get_response_sender()
            zeros = pb_utils.Tensor("ZEROS", np.zeros(size, np.uint8))
            for number in itertools.count():
                if number == count or sender.is_cancelled():
                    break
                tensor = pb_utils.Tensor("NUMBER", np.array([number], np.int32))
                sender.send(pb_utils.InferenceResponse([tensor, zeros]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
