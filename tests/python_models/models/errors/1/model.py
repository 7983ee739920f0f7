"""Every way in which a model can fail a request."""

import numpy as np
import triton_python_backend_utils as pb_utils


def nested(kind):
    raise KeyError(kind)


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            kind = pb_utils.get_input_tensor_by_name(request, "KIND").as_numpy()[0].decode()
            good = pb_utils.Tensor("OUT", np.array([1], np.int32))
            if kind == "raise":
                raise ValueError("something is wrong")
            if kind == "nested":
                nested(kind)
            if kind == "model exception":
                raise pb_utils.TritonModelException("raised on purpose")
            if kind == "none":
                return None
            if kind == "few":
                return []
            if kind == "many":
                return [pb_utils.InferenceResponse([good])] * 2
            if kind == "not a list":
                return pb_utils.InferenceResponse([good])
            if kind == "not a response":
                return [17]
            if kind == "tensors and error":
                error = pb_utils.TritonError("an error with tensors")
                responses.append(pb_utils.InferenceResponse([good], error))
            elif kind == "unknown output":
                other = pb_utils.Tensor("OTHER", np.array([1], np.int32))
                responses.append(pb_utils.InferenceResponse([good, other]))
            elif kind == "no output":
                responses.append(pb_utils.InferenceResponse([]))
            elif kind == "other datatype":
                wrong = pb_utils.Tensor("OUT", np.array([1.5], np.float32))
                responses.append(pb_utils.InferenceResponse([wrong]))
            elif kind == "other shape":
                wrong = pb_utils.Tensor("OUT", np.zeros((2, 3), np.int32))
                responses.append(pb_utils.InferenceResponse([wrong]))
            elif kind.startswith("code "):
                code = getattr(pb_utils.TritonError, kind[5:])
                error = pb_utils.TritonError(f"with {kind}", code)
                assert error.code() == code and error.message() == f"with {kind}"
                responses.append(pb_utils.InferenceResponse(error=error))
            elif kind == "plain":
                responses.append(pb_utils.InferenceResponse(error=pb_utils.TritonError("plain")))
            else:
                responses.append(pb_utils.InferenceResponse([good]))
        return responses
