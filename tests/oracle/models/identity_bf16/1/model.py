"""Gives INPUT0 back as OUTPUT0 by DLPack, since numpy has no BF16."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor.from_dlpack(
                        "OUTPUT0", pb_utils.get_input_tensor_by_name(request, "INPUT0").to_dlpack()
                    )
                ]
            )
            for request in requests
        ]
