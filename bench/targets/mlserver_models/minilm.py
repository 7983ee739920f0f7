"""MLServer's minilm: the file that `uri` names, by onnxruntime. MLServer makes the batches, and
takes the answers apart.
"""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

OUTPUT = "last_hidden_state"


class MiniLM(MLModel):
    async def load(self) -> bool:
        self.session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feed = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        (states,) = self.session.run([OUTPUT], feed)
        output = NumpyCodec.encode_output(OUTPUT, states)
        return InferenceResponse(model_name=self.name, outputs=[output])
