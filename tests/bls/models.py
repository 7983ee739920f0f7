"""A repository of models that call each other. `lab` runs the code that a request brings, in its
`execute`, so that each test says what it does itself; `alab` the same as a coroutine.
"""

from __future__ import annotations

from pathlib import Path

LAB = """
import asyncio
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils

KEPT = {}


def tensor(array, name="X"):
    return pb_utils.Tensor(name, np.asarray(array, np.float32))


def ask(model, inputs, outputs=("Z",), **more):
    return pb_utils.InferenceRequest(
        model_name=model, inputs=list(inputs), requested_output_names=list(outputs), **more
    )


def out(response, name="Z"):
    if response.has_error():
        raise pb_utils.TritonModelException(response.error().message())
    return pb_utils.get_output_tensor_by_name(response, name)


def books():
    # The counters of this instance.
    frame = sys._getframe()
    while "executor" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["executor"].counters()


def load(request):
    scope = dict(globals())
    exec(json.loads(request.parameters())["code"], scope)
    return scope["run"]


def given(request):
    return pb_utils.get_input_tensor_by_name(request, "X")


def answer(result):
    if isinstance(result, pb_utils.InferenceResponse):
        return result
    if not isinstance(result, pb_utils.Tensor):
        result = tensor(result, "Z")
    return pb_utils.InferenceResponse([result])
"""
SYNC = """

class TritonPythonModel:
    def execute(self, requests):
        return [answer(load(request)(request)) for request in requests]
"""
COROUTINE = """

class TritonPythonModel:
    async def execute(self, requests):
        return [answer(await load(request)(request)) for request in requests]
"""
STREAM = """

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for result in load(request)(request):
                sender.send(answer(result))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
ADD = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            if (x == 13).any():
                error = pb_utils.TritonError("thirteen is refused", pb_utils.TritonError.NOT_FOUND)
                responses.append(pb_utils.InferenceResponse(error=error))
                continue
            tensors = [
                pb_utils.Tensor("Z", x + np.float32(1)),
                pb_utils.Tensor("Y", x * np.float32(2)),
            ]
            parameters = {"id": request.request_id(), "timeout": request.timeout()}
            responses.append(pb_utils.InferenceResponse(tensors, parameters=parameters))
        return responses
"""
# As many responses as it is told, then the end; stops when nobody wants more.
COUNT = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            for number in range(int(x.flat[0])):
                if sender.is_cancelled():
                    error = pb_utils.TritonError("stopped", pb_utils.TritonError.CANCELLED)
                    sender.send(pb_utils.InferenceResponse(error=error))
                    break
                tensor = pb_utils.Tensor("Z", np.full([1], number, np.float32))
                sender.send(pb_utils.InferenceResponse([tensor]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
# The sum of a sequence so far, and how its correlation id looks.
SUM = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        responses = []
        for request in requests:
            key = request.correlation_id()
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            if request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
                self.sums[key] = 0
            self.sums[key] += float(x.sum())
            tensor = pb_utils.Tensor("Z", np.full(x.shape, self.sums[key], np.float32))
            parameters = {"correlation": type(key).__name__ + ":" + str(key)}
            responses.append(pb_utils.InferenceResponse([tensor], parameters=parameters))
        return responses
"""
EARLY = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        request = pb_utils.InferenceRequest(
            model_name="add", inputs=[], requested_output_names=[]
        )
        request.exec()

    def execute(self, requests):
        return [None for _ in requests]
"""
RAISE = """
class TritonPythonModel:
    def execute(self, requests):
        raise ValueError("raised by the one that was called")
"""
DIE = """
import os

class TritonPythonModel:
    def execute(self, requests):
        os._exit(3)
"""


def flat(name: str, kind: str = "FP32") -> str:
    return f'{{ name: "{name}" data_type: TYPE_{kind} dims: [ -1 ] }}'


def config(
    *, inputs: str = "", outputs: str = "", batch: int = 0, count: int = 1, more: str = ""
) -> str:
    return (
        f'backend: "python"\nmax_batch_size: {batch}\ninput [ {inputs or flat("X")} ]\n'
        f"output [ {outputs or flat('Z')} ]\ninstance_group [ {{ count: {count} kind: KIND_CPU }} ]"
        f"\n{more}\n"
    )


def write(repository: Path, name: str, text: str, code: str | None = None) -> None:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(text)
    if code is not None:
        (version / "model.py").write_text(code)


def fill(repository: Path) -> None:
    decoupled = "model_transaction_policy { decoupled: true }"
    for name in ("lab", "other_lab"):
        write(repository, name, config(), LAB + SYNC)
    write(repository, "lab_of_two", config(count=2), LAB + SYNC)
    write(repository, "alab", config(), LAB + COROUTINE)
    write(repository, "stream_lab", config(more=decoupled), LAB + STREAM)
    both = flat("Z") + ", " + flat("Y")
    write(repository, "add", config(outputs=both), ADD)
    batching = "dynamic_batching {}"
    write(repository, "add_batching", config(outputs=both, batch=8, more=batching), ADD)
    write(repository, "count", config(more=decoupled), COUNT)
    sequences = 'sequence_batching {{ control_input [ {{ name: "C" control [ {{ {} }} ] }} ] }}'
    for kind in ("UINT64", "STRING"):
        control = f"kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_{kind}"
        write(
            repository,
            f"sum_{kind.lower()}",
            config(batch=4, more=sequences.format(control)),
            SUM,
        )
    write(repository, "early", config(), EARLY)
    write(repository, "die", config(), DIE)
    write(repository, "raise", config(), RAISE)
    texts = flat("INPUT0", "STRING"), flat("OUTPUT0", "STRING")
    for name, inputs, outputs in (
        ("mirror", flat("INPUT0"), flat("OUTPUT0")),
        ("mirror_texts", *texts),
    ):
        text = config(inputs=inputs, outputs=outputs).replace('"python"', '"identity"')
        write(repository, name, text)
    for name, model, names in (
        ("pair", "add", ("X", "Z")),
        ("round", "lab", ("X", "Z")),
        ("reflect", "mirror", ("INPUT0", "OUTPUT0")),
    ):
        first, last = names
        steps = (
            f'{{ model_name: "{model}" model_version: -1'
            f' input_map {{ key: "{first}" value: "X" }}'
            f' output_map {{ key: "{last}" value: "middle" }} }},'
            '{ model_name: "add" model_version: -1 input_map { key: "X" value: "middle" }'
            ' output_map { key: "Z" value: "Z" } }'
        )
        text = (
            f'platform: "ensemble"\ninput [ {flat("X")} ]\noutput [ {flat("Z")} ]\n'
            f"ensemble_scheduling {{ step [ {steps} ] }}\n"
        )
        write(repository, name, text)
