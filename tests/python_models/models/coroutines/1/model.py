"""execute is a coroutine."""

import asyncio

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    async def one(self, request):
        given = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        await asyncio.sleep(0.001)
        if given.size == 0:
            raise ValueError("raised in a coroutine")
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", given * 2)])

    async def execute(self, requests):
        return list(await asyncio.gather(*(self.one(request) for request in requests)))
