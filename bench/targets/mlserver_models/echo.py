"""MLServer's identity of one tensor of any datatype: data goes out as it came in, no array made."""

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Echo(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (given,) = payload.inputs
        output = ResponseOutput(
            name="OUTPUT0", shape=given.shape, datatype=given.datatype, data=given.data
        )
        return InferenceResponse(model_name=self.name, outputs=[output])
