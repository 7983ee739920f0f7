"""Gives its input back after a while."""

import time

import triton_python_backend_utils as pb_utils

WHILE_S = 0.15


class TritonPythonModel:
    def execute(self, requests):
        time.sleep(WHILE_S)
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(
                        "OUTPUT0", pb_utils.get_input_tensor_by_name(one, "INPUT0").as_numpy()
                    )
                ]
            )
            for one in requests
        ]
