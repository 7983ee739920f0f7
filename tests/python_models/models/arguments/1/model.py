"""What initialize is told."""

import json
import os

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.told = {name: value for name, value in sorted(args.items()) if name != "model_config"}
        self.told["model_repository"] = os.path.basename(args["model_repository"])
        self.told["model_instance_name"] = "model_instance_name" in args
        self.told["types"] = sorted({type(value).__name__ for value in args.values()})
        self.told["config name"] = config["name"]
        self.told["max_batch_size"] = config["max_batch_size"]
        self.told["parameter"] = config["parameters"]["some"]["string_value"]
        self.told["model dir"] = os.path.basename(pb_utils.get_model_dir())
        self.told["cwd exists"] = os.path.isdir(os.getcwd())

    def execute(self, requests):
        text = np.array([json.dumps(self.told, sort_keys=True)], dtype=object)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("TEXT", text)]) for _ in requests]
