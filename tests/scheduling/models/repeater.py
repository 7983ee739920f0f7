"""Decoupled: answers as many times as its first input says, the n-th time with 10 * n added. -1
answers once and then fails.
"""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def initialize(self, args):
        self._name = args["model_name"]
        config = json.loads(args["model_config"])
        self._reports = config["parameters"]["reports"]["string_value"]

    def execute(self, requests):
        values = [pb_utils.get_input_tensor_by_name(each, "X").as_numpy() for each in requests]
        seen = [
            {"id": request.request_id(), "X": value.tolist()}
            for request, value in zip(requests, values, strict=True)
        ]
        with open(f"{self._reports}/{self._name}.jsonl", "a", encoding="utf-8") as reports:
            reports.write(json.dumps({"instance": self._name, "version": 1, "seen": seen}) + "\n")
        for request, value in zip(requests, values, strict=True):
            sender = request.get_response_sender()
            count = int(value.flat[0])
            for index in range(abs(count)):
                tensor = pb_utils.Tensor("OUT", (value + 10 * index).astype(np.int32))
                sender.send(pb_utils.InferenceResponse([tensor]))
            if count < 0:
                error = pb_utils.TritonError("asked to fail")
                sender.send(pb_utils.InferenceResponse(error=error), flags=FINAL)
            else:
                sender.send(flags=FINAL)
        return None
