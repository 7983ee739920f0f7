"""What response senders, responses and requests refuse, word by word."""

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


def text_of(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "fine"


class TritonPythonModel:
    def initialize(self, args):
        self.after = []

    def execute(self, requests):
        responses = []
        for request in requests:
            sender = request.get_response_sender()
            empty = pb_utils.InferenceResponse([])
            texts = [
                text_of(lambda: sender.send(flags=7)),
                text_of(lambda: sender.send()),
                text_of(lambda: sender.send(flags=FINAL)),
                str(empty.has_error()),
                str(pb_utils.InferenceResponse(error=pb_utils.TritonError("e")).has_error()),
                str(pb_utils.get_output_tensor_by_name(empty, "none")),
                *self.after,
            ]
            text = pb_utils.Tensor("TEXT", np.array(texts, dtype=object))
            sender.send(pb_utils.InferenceResponse([text]), FINAL)
            self.after = [text_of(lambda: sender.send(pb_utils.InferenceResponse([text])))]
            responses.append(None)
        return responses
