"""Decoupled: hands on what another decoupled model answers."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    async def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            inner = pb_utils.InferenceRequest(
                model_name="repeat",
                requested_output_names=["NUMBER"],
                inputs=[pb_utils.get_input_tensor_by_name(request, "COUNT")],
                trace=request.trace(),
            )
            for answer in await inner.async_exec(decoupled=True):
                if answer.has_error():
                    sender.send(pb_utils.InferenceResponse(error=answer.error()))
                elif len(answer.output_tensors()) > 0:
                    sender.send(pb_utils.InferenceResponse(answer.output_tensors()))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
