"""What ModelConfig refuses, word by word."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


def text_of(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "fine"


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        good = {"name": "X", "data_type": "TYPE_FP32", "dims": [-1]}
        texts = [
            text_of(lambda: config.add_input({"data_type": "TYPE_FP32", "dims": [1]})),
            text_of(lambda: config.add_input({"name": "Y", "dims": [1]})),
            text_of(lambda: config.add_input({"name": "Y", "data_type": "TYPE_FP32"})),
            text_of(lambda: config.add_input({**good, "colour": "red"})),
            text_of(lambda: config.add_input({**good, "data_type": "TYPE_INT8"})),
            text_of(lambda: config.add_input({**good, "dims": [3]})),
            text_of(lambda: config.add_input(good)),
            text_of(lambda: config.add_output({"data_type": "TYPE_FP32", "dims": [1]})),
            text_of(lambda: config.add_output({"name": "Y", "dims": [1]})),
            text_of(lambda: config.add_output({"name": "Y", "data_type": "TYPE_FP32"})),
            text_of(
                lambda: config.add_output({"name": "TEXT", "data_type": "TYPE_FP32", "dims": [1]})
            ),
            text_of(
                lambda: config.add_output({"name": "TEXT", "data_type": "TYPE_STRING", "dims": [2]})
            ),
            text_of(lambda: config.add_output({**good, "name": "TEXT", "optional": True})),
            text_of(lambda: config.set_model_transaction_policy({"colour": "red"})),
            text_of(lambda: config.set_model_transaction_policy({"decoupled": False})),
            text_of(lambda: config.set_max_batch_size(0)),
        ]
        config.as_dict()["parameters"]["texts"] = {"string_value": json.dumps(texts)}
        TritonPythonModel.texts = texts
        with open(TritonPythonModel.file(), "w") as file:
            json.dump(texts, file)
        return config

    @staticmethod
    def file():
        return __file__.replace("model.py", "texts.json")

    def execute(self, requests):
        with open(self.file()) as file:
            text = np.array([file.read()], dtype=object)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("TEXT", text)]) for _ in requests]
