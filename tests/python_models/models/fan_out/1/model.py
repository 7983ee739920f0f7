"""A coroutine that asks another model for each number at once."""

import asyncio

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    async def execute(self, requests):
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            awaits = []
            for value in x:
                inner = pb_utils.InferenceRequest(
                    model_name="plus_one",
                    requested_output_names=["Z"],
                    inputs=[pb_utils.Tensor("X", np.array([value], np.float32))],
                )
                awaits.append(inner.async_exec())
            answers = await asyncio.gather(*awaits)
            for answer in answers:
                if answer.has_error():
                    raise pb_utils.TritonModelException(answer.error().message())
            values = [
                pb_utils.get_output_tensor_by_name(answer, "Z").as_numpy() for answer in answers
            ]
            tensor = pb_utils.Tensor("Z", np.concatenate(values))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses
