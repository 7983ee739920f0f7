"""As bls_exec, each call awaited before the next one is made."""

import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.given = pb_utils.Tensor("INPUT0", numpy.arange(16, dtype=numpy.float32)[None])

    async def execute(self, requests):
        return [await self.answer(request) for request in requests]

    async def answer(self, request):
        count = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
        answered = 0
        for _ in range(count[0]):
            response = await pb_utils.InferenceRequest(
                model_name="python_plain", inputs=[self.given], requested_output_names=["OUTPUT0"]
            ).async_exec()
            if response.has_error():
                raise pb_utils.TritonModelException(response.error().message())
            answered += 1
        output = pb_utils.Tensor("OUTPUT0", numpy.array([answered], numpy.int32))
        return pb_utils.InferenceResponse([output])
