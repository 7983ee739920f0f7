"""OUTPUT0 = INPUT0 + 10 * INPUT1 + 100 * INPUT2, where a missing input counts as zero."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            total = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy().copy()
            for name, factor in (("INPUT1", 10), ("INPUT2", 100)):
                given = pb_utils.get_input_tensor_by_name(request, name)
                if given is not None:
                    total += factor * given.as_numpy()
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", total)]))
        return responses
