"""OUTPUT0 is INPUT0 times the number of the version that answers."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self._factor = int(args["model_version"])

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(
                        "OUTPUT0",
                        pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
                        * self._factor,
                    )
                ]
            )
            for request in requests
        ]
