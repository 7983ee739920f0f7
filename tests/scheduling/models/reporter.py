"""Adds its inputs and writes down how each batch was composed, one JSON line a batch, into the
file `<reports>/<model>.jsonl`; `reports` is a parameter of its config.

Every output is the sum of the inputs, its own index and the version. Words in the id of a request
ask for more, `word@model` asks only that model: `hold` waits until the driver opens the gate,
`fail` answers an error, `raise` raises, `shape` answers a tensor of another rank, `none` answers no
tensor at all, `sequence` lets the response's parameters start and end sequence 77.
"""

import json
import os
import time

import triton_python_backend_utils as pb_utils

HELD_AT_MOST_S = 30


def plain(value):
    """An array's lists as JSON has them."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.decode() if isinstance(value, bytes) else value


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self._name = args["model_name"]
        self._version = int(args["model_version"])
        self._instance = args["model_instance_name"]
        self._parameters = {k: v["string_value"] for k, v in config["parameters"].items()}
        controls = config.get("sequence_batching", {}).get("control_input", [])
        self._controls = [control["name"] for control in controls]
        self._inputs = [each["name"] for each in config["input"]]
        self._outputs = [
            (each["name"], pb_utils.triton_string_to_numpy(each["data_type"]))
            for each in config["output"]
        ]
        if self._parameters.get("raises") == "at load":
            raise ValueError("asked to raise at load")

    def execute(self, requests):
        self._write([self._seen(request) for request in requests])
        if self._parameters.get("raises") == "always":
            raise ValueError("asked to raise always")
        wishes = [self._wishes(request) for request in requests]
        if any("raise" in asked for asked in wishes):
            raise ValueError("asked to raise")
        if any("hold" in asked for asked in wishes):
            self._hold()
        return [self._answer(*pair) for pair in zip(requests, wishes, strict=True)]

    def _wishes(self, request):
        words = [word.partition("@") for word in request.request_id().split()]
        return {word for word, _, model in words if model in ("", self._name)}

    def _seen(self, request):
        seen = {"id": request.request_id()}
        for name in self._inputs + self._controls:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is not None:
                values = tensor.as_numpy()
                # A null request of a sequence batcher has no id, and whatever lay in the memory.
                null = not request.request_id() and self._controls and name in self._inputs
                seen[name] = {"shape": values.shape} if null else plain(values.tolist())
        if "told" in self._parameters:
            seen["correlation_id"] = request.correlation_id()
            seen["flags"] = request.flags()
            seen["timeout"] = request.timeout()
            seen["parameters"] = json.loads(request.parameters() or "{}")
            seen["outputs"] = sorted(request.requested_output_names())
        return seen

    def _write(self, seen):
        line = json.dumps({"instance": self._instance, "version": self._version, "seen": seen})
        path = f"{self._parameters['reports']}/{self._name}.jsonl"
        with open(path, "a", encoding="utf-8") as reports:
            reports.write(line + "\n")

    def _hold(self):
        gate = f"{self._parameters['reports']}/{self._name}"
        with open(f"{gate}.held", "w", encoding="utf-8"):
            pass
        end = time.monotonic() + HELD_AT_MOST_S
        while not os.path.exists(f"{gate}.open") and time.monotonic() < end:
            time.sleep(0.005)

    def _answer(self, request, wishes):
        if "fail" in wishes:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("asked to fail"))
        if "none" in wishes:
            return pb_utils.InferenceResponse([])
        tensors = [pb_utils.get_input_tensor_by_name(request, name) for name in self._inputs]
        total = sum(tensor.as_numpy() for tensor in tensors if tensor is not None)
        outputs = []
        for index, (name, datatype) in enumerate(self._outputs):
            value = (total + index + self._version).astype(datatype)
            outputs.append(pb_utils.Tensor(name, value[None] if "shape" in wishes else value))
        if "sequence" in wishes:
            given = {"sequence_id": 77, "sequence_start": True, "sequence_end": True}
            return pb_utils.InferenceResponse(outputs, parameters=given)
        if "parameters" in wishes:
            return pb_utils.InferenceResponse(outputs, parameters={"by": self._name})
        return pb_utils.InferenceResponse(outputs)
