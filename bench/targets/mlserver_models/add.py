"""MLServer's python_add: INPUT0 + INPUT1 as OUTPUT0, in numpy."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Add(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        first, second = (NumpyCodec.decode_input(one) for one in payload.inputs)
        total = NumpyCodec.encode_output("OUTPUT0", first + second)
        return InferenceResponse(model_name=self.name, outputs=[total])
