"""Calls that fail: an error is a response, and says what and of which kind."""

import asyncio

import numpy as np
import triton_python_backend_utils as pb_utils


def floats(*values, name="X"):
    return pb_utils.Tensor(name, np.array(values, np.float32))


def ask(model_name, tensors, outputs=("Z",), **more):
    return pb_utils.InferenceRequest(
        model_name=model_name, inputs=tensors, requested_output_names=list(outputs), **more
    )


CASES = {
    "good": lambda: ask("plus_one", [floats(1)]),
    "no such model": lambda: ask("nowhere", [floats(1)]),
    "no such version": lambda: ask("plus_one", [floats(1)], model_version=7),
    "version": lambda: ask("plus_one", [floats(1)], model_version=1),
    "other name": lambda: ask("plus_one", [floats(1, name="W")]),
    "no input": lambda: ask("plus_one", []),
    "one too many": lambda: ask("plus_one", [floats(1), floats(1, name="W")]),
    "other shape": lambda: ask("plus_one", [pb_utils.Tensor("X", np.zeros([1, 1], np.float32))]),
    "other datatype": lambda: ask("plus_one", [pb_utils.Tensor("X", np.zeros([1], np.int32))]),
    "no such output": lambda: ask("plus_one", [floats(1)], ["W"]),
    "no outputs asked for": lambda: ask("plus_one", [floats(1)], []),
    "one output twice": lambda: ask("plus_one", [floats(1)], ["Y", "Y"]),
    "error of the other": lambda: ask("plus_one", [floats(13)]),
    "exception of the other": lambda: ask("plus_one", [floats(14)]),
    "decoupled other": lambda: ask("repeat", [pb_utils.Tensor("COUNT", np.array([1], np.int32))]),
    "with id": lambda: ask("plus_one", [floats(1, name="W")], request_id="mine"),
}


def told_of(response):
    if response.has_error():
        error = response.error()
        return f"error {error.code()}: {error.message()}"
    return ", ".join(
        f"{one.name()}={one.as_numpy().tolist()}"
        for one in sorted(response.output_tensors(), key=lambda one: one.name())
    )


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            kind = pb_utils.get_input_tensor_by_name(request, "KIND").as_numpy()[0].decode()
            texts = []
            try:
                texts.append(told_of(CASES[kind]().exec()))
            except Exception as error:
                texts.append(f"raised {type(error).__name__}: {error}")

            async def awaited(kind=kind):
                return await CASES[kind]().async_exec()

            try:
                texts.append(told_of(asyncio.run(awaited())))
            except Exception as error:
                texts.append(f"raised {type(error).__name__}: {error}")
            tensor = pb_utils.Tensor("TEXT", np.array(texts, dtype=object))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses
