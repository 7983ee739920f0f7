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
            good = pb_utils.Tensor("TEXT", np.array([b"x"], dtype=object))
            texts = [
                text_of(lambda: sender.send(flags=7)),
                text_of(lambda: sender.send()),
                text_of(lambda: sender.send(flags=FINAL)),
                text_of(lambda: request.set_release_flags(9)),
                text_of(lambda: pb_utils.InferenceResponse([good], parameters={"a": 1.5})),
                text_of(lambda: pb_utils.InferenceResponse([good], parameters={1: "a"})),
                text_of(lambda: pb_utils.InferenceResponse([good], parameters=["a"])),
                text_of(lambda: pb_utils.TritonError("a", 99)),
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
