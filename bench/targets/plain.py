"""Workloads as requests of servers that have no protocol for tensors: an HTTP body is what the
model's author makes of it.

As JSON it is one object, a flat list for each input by its name, and so is the answer. As binary
it is the inputs' bytes, one behind the other, and the answer is the output's.
"""

from __future__ import annotations

import json

import numpy

from bench import kserve
from bench.workload import HttpRequest, Workload

MODELS = frozenset({"identity", "identity_any", "python_identity", "python_add", "minilm"})


def json_request(workload: Workload, path: str) -> HttpRequest:
    inputs = {one.name: one.values for one in kserve.inputs_of(workload)}
    name = kserve.output_name(workload)

    def right(body: bytes) -> bool:
        values = numpy.array(json.loads(body)[name], numpy.float32)
        return kserve.right_output(workload, values.tobytes())

    body = json.dumps(inputs, separators=(",", ":")).encode()
    return HttpRequest(path, {"Content-Type": "application/json"}, body, right)


def binary_request(workload: Workload, path: str) -> HttpRequest:
    body = b"".join(one.raw for one in kserve.inputs_of(workload))
    return HttpRequest(
        path,
        {"Content-Type": "application/octet-stream"},
        body,
        lambda answer: kserve.right_output(workload, answer),
    )
