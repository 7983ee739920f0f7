"""Comes back with a request until it has been executed as often as its input says; then it answers
how often that was. Writes down its batches as the reporter does.
"""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self._name = args["model_name"]
        config = json.loads(args["model_config"])
        self._reports = config["parameters"]["reports"]["string_value"]
        self._times = {}

    def execute(self, requests):
        seen, answers = [], []
        for request in requests:
            name = request.request_id()
            wanted = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            start = pb_utils.get_input_tensor_by_name(request, "START").as_numpy()
            seen.append({"id": name, "X": wanted.tolist(), "START": start.tolist()})
            self._times[name] = self._times.get(name, 0) + 1
            if self._times[name] < wanted.flat[0]:
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
                answers.append(None)
                continue
            times = np.full_like(wanted, self._times.pop(name))
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", times)]))
        with open(f"{self._reports}/{self._name}.jsonl", "a", encoding="utf-8") as reports:
            reports.write(json.dumps({"instance": self._name, "version": 1, "seen": seen}) + "\n")
        return answers
