"""DLPack, both ways, and what it refuses."""

import numpy as np
import triton_python_backend_utils as pb_utils


def text_of(call):
    try:
        call()
    except Exception as error:
        return str(error)
    return "fine"


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            tensor = pb_utils.get_input_tensor_by_name(request, "X")
            array = np.array(tensor.as_numpy())
            out = pb_utils.Tensor.from_dlpack("OUT", array * 3)
            strings = pb_utils.Tensor("S", np.array([b"a"], dtype=object))
            texts = [
                str(tensor.__dlpack_device__()),
                str(out.is_cpu()),
                str(list(out.shape())),
                text_of(lambda: strings.to_dlpack()),
                text_of(lambda: pb_utils.Tensor.from_dlpack("", array)),
                text_of(lambda: pb_utils.Tensor("", array)),
                str(np.from_dlpack(out).tolist()),
            ]
            responses.append(
                pb_utils.InferenceResponse(
                    [out, pb_utils.Tensor("TEXT", np.array(texts, dtype=object))]
                )
            )
        return responses
