"""model.onnx by onnxruntime: a batch's requests are put together, run once, and taken apart."""

from pathlib import Path

import numpy
import onnxruntime
import triton_python_backend_utils as pb_utils

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class TritonPythonModel:
    def initialize(self, args):
        file = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            file, options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests):
        tensors = [
            [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in INPUTS]
            for request in requests
        ]
        rows = [len(first) for first, *_ in tensors]
        feed = {
            name: numpy.concatenate([request[index] for request in tensors])
            for index, name in enumerate(INPUTS)
        }
        (states,) = self.session.run(["last_hidden_state"], feed)
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("last_hidden_state", part)])
            for part in numpy.split(states, numpy.cumsum(rows)[:-1])
        ]
