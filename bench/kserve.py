"""Workloads as requests of KServe's and Triton's protocols, HTTP and gRPC."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import serialize_byte_tensor

from bench.workload import GrpcRequest, HttpRequest, Request, Wire, Workload

SERVICE = "/inference.GRPCInferenceService/"
_EMBEDDING = 384  # MiniLM's values for a token
# Their only input is a number: of answers, or of calls.
_COUNTING = ("repeat", "bls_exec", "bls_async_exec", "bls_gather")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor with its bytes as they travel, and as JSON has it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes
    values: Sequence[float | int | str]


def _of_array(name: str, datatype: str, array: numpy.ndarray) -> Tensor:
    return Tensor(name, datatype, array.shape, array.tobytes(), array.ravel().tolist())


def floats(count: int) -> numpy.ndarray:
    """Numbers with all their digits, as real ones have; the first sixteen are 0 to 15."""
    values = numpy.random.default_rng(1).standard_normal(count).astype(numpy.float32)
    values[:16] = numpy.arange(min(count, 16))
    return values


def tokens(count: int) -> dict[str, numpy.ndarray]:
    """A sentence for MiniLM: any words of its vocabulary."""
    words = numpy.random.default_rng(1).integers(1000, 20000, (1, count), numpy.int64)
    return {
        "input_ids": words,
        "attention_mask": numpy.ones_like(words),
        "token_type_ids": numpy.zeros_like(words),
    }


def inputs_of(workload: Workload) -> list[Tensor]:
    count = workload.elements
    if workload.model == "minilm":
        return [_of_array(name, "INT64", array) for name, array in tokens(count).items()]
    if workload.model in _COUNTING:
        return [_of_array("INPUT0", "INT32", numpy.array([count], numpy.int32))]
    if workload.model in ("identity_bytes", "python_bytes"):
        texts = [f"string number {number}" for number in range(count)]
        array = numpy.array([texts], numpy.object_)
        return [Tensor("INPUT0", "BYTES", (1, count), serialize_byte_tensor(array).item(), texts)]
    row = floats(count).reshape(1, count)
    names = ("INPUT0", "INPUT1") if workload.model == "python_add" else ("INPUT0",)
    return [_of_array(name, "FP32", row) for name in names]


def output_name(workload: Workload) -> str:
    return "last_hidden_state" if workload.model == "minilm" else "OUTPUT0"


def right_output(workload: Workload, raw: bytes) -> bool:
    """Whether these are the bytes of the right answer; of MiniLM's, whether they may be."""
    if workload.model == "minilm":
        values = numpy.frombuffer(raw, numpy.float32)
        return values.size == workload.elements * _EMBEDDING and bool(numpy.isfinite(values).all())
    first = inputs_of(workload)[0]
    if workload.model == "python_add":
        return raw == (2 * numpy.frombuffer(first.raw, numpy.float32)).tobytes()
    return raw == first.raw


def request(workload: Workload) -> Request:
    """As Triton's clients send it."""
    if workload.wire in (Wire.GRPC, Wire.STREAM):
        return _grpc_request(workload)
    if workload.wire is Wire.JSON:
        return _json_request(workload)
    return _binary_request(workload)


def _json_request(workload: Workload) -> HttpRequest:
    inputs = [
        {"name": one.name, "shape": one.shape, "datatype": one.datatype, "data": one.values}
        for one in inputs_of(workload)
    ]

    def right(body: bytes) -> bool:
        (output,) = json.loads(body)["outputs"]
        if inputs[0]["datatype"] == "BYTES":
            return bool(output["data"] == inputs[0]["data"])
        return right_output(workload, numpy.array(output["data"], numpy.float32).tobytes())

    return HttpRequest(
        path=f"/v2/models/{workload.model}/infer",
        headers={"Content-Type": "application/json"},
        body=json.dumps({"inputs": inputs}, separators=(",", ":")).encode(),
        right=right,
    )


def _binary_request(workload: Workload) -> HttpRequest:
    tensors = inputs_of(workload)
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": one.name,
                    "shape": one.shape,
                    "datatype": one.datatype,
                    "parameters": {"binary_data_size": len(one.raw)},
                }
                for one in tensors
            ],
            "outputs": [{"name": output_name(workload), "parameters": {"binary_data": True}}],
        },
        separators=(",", ":"),
    ).encode()

    def right(body: bytes) -> bool:
        # The answer's JSON ends where its only output is described; tensors have no such text.
        found = re.search(rb'"binary_data_size":(\d+)', body)
        return found is not None and right_output(workload, body[-int(found[1]) :])

    return HttpRequest(
        path=f"/v2/models/{workload.model}/infer",
        headers={
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        },
        body=head + b"".join(one.raw for one in tensors),
        right=right,
    )


def _grpc_request(workload: Workload) -> GrpcRequest:
    message = pb.ModelInferRequest(model_name=workload.model)
    for one in inputs_of(workload):
        message.inputs.add(name=one.name, datatype=one.datatype, shape=one.shape)
        message.raw_input_contents.append(one.raw)
    streamed = workload.wire is Wire.STREAM

    def right(answers: list[bytes]) -> bool:
        if streamed:
            parsed = [pb.ModelStreamInferResponse.FromString(one) for one in answers]
            if any(one.error_message for one in parsed):
                return False
            received = [one.infer_response for one in parsed]
        else:
            received = [pb.ModelInferResponse.FromString(one) for one in answers]
        raw = [content for one in received for content in one.raw_output_contents]
        if workload.model == "repeat":
            numbers = [struct.unpack("<16f", content)[0] for content in raw]
            return numbers == list(range(workload.elements))
        return len(raw) == 1 and right_output(workload, raw[0])

    method = "ModelStreamInfer" if streamed else "ModelInfer"
    return GrpcRequest(SERVICE + method, message.SerializeToString(), right)
