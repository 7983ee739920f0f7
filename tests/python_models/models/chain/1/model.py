"""Business logic scripting: three models, one after the other."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def call(self, model_name, outputs, tensors):
        request = pb_utils.InferenceRequest(
            model_name=model_name, requested_output_names=outputs, inputs=tensors
        )
        response = request.exec()
        if response.has_error():
            raise pb_utils.TritonModelException(response.error().message())
        return response

    def execute(self, requests):
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "X")
            first = self.call("plus_one", ["Z", "Y"], [x])
            z = pb_utils.get_output_tensor_by_name(first, "Z")
            y = pb_utils.get_output_tensor_by_name(first, "Y")
            second = self.call(
                "add_sub",
                ["OUTPUT0"],
                [pb_utils.Tensor("INPUT0", z.as_numpy()), pb_utils.Tensor("INPUT1", y.as_numpy())],
            )
            assert len(second.output_tensors()) == 1
            between = pb_utils.get_output_tensor_by_name(second, "OUTPUT0")
            third = self.call("plus_one", ["Z"], [pb_utils.Tensor("X", between.as_numpy())])
            responses.append(
                pb_utils.InferenceResponse(
                    [
                        pb_utils.get_output_tensor_by_name(third, "Z"),
                        pb_utils.Tensor("SECOND", between.as_numpy()),
                    ]
                )
            )
        return responses
