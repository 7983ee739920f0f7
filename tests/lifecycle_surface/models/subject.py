"""Says which model, version and mark it is. Parameters of its config:

`mark`: what it is told from others by; `raises`: versions whose initialize fails; `gate`: a file
at which versions in `held` (all, if empty) wait in initialize; `gate_in_execute`: one at which
requests with X = 1 wait. A gate at which somebody waits is <path>.held; <path>.open opens it.
"""

import json
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


def _pass(gate):
    Path(gate + ".held").touch()
    while not Path(gate + ".open").exists():
        time.sleep(0.005)


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "X", "data_type": "TYPE_INT32", "dims": [-1]})
        config.add_output({"name": "SAYS", "data_type": "TYPE_STRING", "dims": [1]})
        config.set_max_batch_size(0)
        return config

    def initialize(self, args):
        config = json.loads(args["model_config"])
        given = {key: value["string_value"] for key, value in config["parameters"].items()}
        version = args["model_version"]
        if version in given.get("raises", "").split(","):
            raise ValueError("cannot start")
        held = given.get("held", "").split(",")
        if "gate" in given and held in ([""], [version]):
            _pass(given["gate"])
        self._gate = given.get("gate_in_execute")
        self._says = f"{args['model_name']}:{version}:{given.get('mark', '')}"

    def execute(self, requests):
        responses = []
        for request in requests:
            value = int(np.ravel(pb_utils.get_input_tensor_by_name(request, "X").as_numpy())[0])
            if value == 1 and self._gate is not None:
                _pass(self._gate)
            says = pb_utils.Tensor("SAYS", np.array([self._says], dtype=np.object_))
            responses.append(pb_utils.InferenceResponse([says]))
        return responses
