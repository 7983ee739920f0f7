"""Fails on purpose.

CODE 0 answers; 1 to 8 answer with a TritonError of that code (in the order of `CODES`); 9 answers
with an error that has no code; 20 raises; 21 returns too few responses; 22 returns no list; 23
returns something that is no response; 24 returns an output that the config does not have; 25
returns another datatype than the config says; 26 returns another shape than the config says; 27
returns no output.
"""

import numpy as np
import triton_python_backend_utils as pb_utils

CODES = (
    "UNKNOWN",
    "INTERNAL",
    "NOT_FOUND",
    "INVALID_ARG",
    "UNAVAILABLE",
    "UNSUPPORTED",
    "ALREADY_EXISTS",
    "CANCELLED",
)


def _answer(code, given):
    if 1 <= code <= len(CODES):
        error = pb_utils.TritonError(
            f"asked for {CODES[code - 1]}", getattr(pb_utils.TritonError, CODES[code - 1])
        )
        return pb_utils.InferenceResponse(output_tensors=[], error=error)
    if code == 9:
        return pb_utils.InferenceResponse([], pb_utils.TritonError("no code given"))
    if code == 24:
        return pb_utils.InferenceResponse([pb_utils.Tensor("OTHER", given)])
    if code == 25:
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", given.astype(np.float64))])
    if code == 26:
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", np.tile(given, (1, 3)))])
    if code == 27:
        return pb_utils.InferenceResponse([])
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", given)])


class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(r, "CODE").as_numpy() for r in requests]
        codes = [int(tensor.flat[0]) for tensor in tensors]
        if 20 in codes:
            raise ValueError("asked to raise")
        if 21 in codes:
            return []
        if 22 in codes:
            return "no list"
        if 23 in codes:
            return ["no response" for _ in requests]
        return [_answer(code, tensor) for code, tensor in zip(codes, tensors, strict=True)]
