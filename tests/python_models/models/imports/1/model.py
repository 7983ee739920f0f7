"""Modules beside the model file, by their names and relatively."""

import numpy as np
import plain
import triton_python_backend_utils as pb_utils

from .relative import WORD


class TritonPythonModel:
    def execute(self, requests):
        text = np.array([f"{plain.WORD} {WORD} {__name__}"], dtype=object)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("TEXT", text)]) for _ in requests]
