import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.left = {}

    def execute(self, requests):
        responses = []
        for request in requests:
            key = request.request_id()
            tensor = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()
            if request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
                self.left[key] = (int(tensor[0, 0]), 0)
            left, done = self.left[key]
            self.left[key] = (left - 1, done + 1)
            if left > 1:
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
                responses.append(None)
                continue
            output = pb_utils.Tensor("OUTPUT", (tensor * 0 + self.left.pop(key)[1]))
            responses.append(pb_utils.InferenceResponse([output]))
        return responses
