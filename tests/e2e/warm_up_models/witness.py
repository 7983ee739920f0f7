"""Answers its input, and writes down what each execute was given, one JSON line each, into
`<folder>/<model>.jsonl`. Parameters ask for more: it `raises`, `dies`, `hangs` or is `decoupled`.
"""

import json
import os
import threading

import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.asked = {key: value["string_value"] for key, value in config["parameters"].items()}
        self.path = f"{self.asked['folder']}/{args['model_name']}.jsonl"
        controls = config.get("sequence_batching", {}).get("control_input", [])
        self.names = ["X", *(control["name"] for control in controls)]

    def execute(self, requests):
        seen = {"pid": os.getpid()}
        for name in self.names:
            tensors = [pb_utils.get_input_tensor_by_name(each, name) for each in requests]
            seen[name] = [tensor.as_numpy().tolist() for tensor in tensors]
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(seen) + "\n")
        if "raises" in self.asked:
            raise ValueError("no")
        if "dies" in self.asked:
            os._exit(3)
        if "hangs" in self.asked:
            threading.Event().wait()
        if "decoupled" in self.asked:
            for request in requests:
                sender = request.get_response_sender()
                for _ in range(5):
                    sender.send(self.answer(request))
                sender.send(flags=FINAL)
            return None
        return [self.answer(request) for request in requests]

    def answer(self, request):
        value = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", value)])
