"""OUTPUT0 is the sum and OUTPUT1 the difference; only the outputs asked for are returned."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            left = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            right = pb_utils.get_input_tensor_by_name(request, "INPUT1").as_numpy()
            made = {"OUTPUT0": left + right, "OUTPUT1": left - right}
            wanted = request.requested_output_names()
            responses.append(
                pb_utils.InferenceResponse(
                    [pb_utils.Tensor(name, made[name]) for name in made if name in wanted]
                )
            )
        return responses
