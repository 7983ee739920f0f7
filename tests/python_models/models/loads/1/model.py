"""Loads, asks about and unloads another model."""

import numpy as np
import triton_python_backend_utils as pb_utils

CONFIG = """{"backend": "python", "max_batch_size": 0,
"input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [-1]}],
"output": [{"name": "Z", "data_type": "TYPE_FP32", "dims": [-1]},
           {"name": "Y", "data_type": "TYPE_FP32", "dims": [-1]}]}"""
CODE = b"""
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor(
            "Z", pb_utils.get_input_tensor_by_name(request, "X").as_numpy() * 100)])
            for request in requests]
"""


def text_of(call, *args, **more):
    try:
        return str(call(*args, **more))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def ask(model_name):
    response = pb_utils.InferenceRequest(
        model_name=model_name,
        requested_output_names=["Z"],
        inputs=[pb_utils.Tensor("X", np.array([3], np.float32))],
    ).exec()
    if response.has_error():
        return response.error().message()
    return pb_utils.get_output_tensor_by_name(response, "Z").as_numpy().tolist()


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            kind = pb_utils.get_input_tensor_by_name(request, "KIND").as_numpy()[0].decode()
            texts = getattr(self, kind)()
            tensor = pb_utils.Tensor("TEXT", np.array(texts, dtype=object))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses

    def life(self):
        ready = pb_utils.is_model_ready
        return [
            text_of(pb_utils.load_model, model_name="loaded_by_others"),
            text_of(ready, model_name="loaded_by_others"),
            text_of(ready, model_name="loaded_by_others", model_version="1"),
            text_of(ready, "loaded_by_others", "2"),
            text_of(ask, "loaded_by_others"),
            text_of(pb_utils.unload_model, "loaded_by_others"),
            text_of(ready, "loaded_by_others"),
            text_of(ask, "loaded_by_others"),
            text_of(pb_utils.load_model, "loaded_by_others", ""),
            text_of(ask, "loaded_by_others"),
            text_of(pb_utils.unload_model, "loaded_by_others", True),
        ]

    def override(self):
        files = {"file:1/model.py": CODE}
        return [
            text_of(pb_utils.load_model, "made_up", CONFIG, files),
            text_of(ask, "made_up"),
            text_of(pb_utils.unload_model, "made_up"),
            text_of(pb_utils.load_model, model_name="made_up", files=files),
        ]

    def errors(self):
        return [
            text_of(pb_utils.load_model, "nowhere"),
            text_of(pb_utils.load_model, "plus_one", "this is no config"),
            text_of(pb_utils.load_model, "plus_one", '{"backend": "no such backend"}'),
            text_of(pb_utils.load_model, "plus_one", CONFIG, {"1/model.py": CODE}),
            text_of(pb_utils.unload_model, "nowhere"),
            text_of(pb_utils.is_model_ready, "nowhere"),
            text_of(pb_utils.is_model_ready, "plus_one", "-1"),
            text_of(pb_utils.is_model_ready, "plus_one", "one"),
            text_of(pb_utils.is_model_ready, "plus_one", ""),
            text_of(ask, "plus_one"),
        ]
