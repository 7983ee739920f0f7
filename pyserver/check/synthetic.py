"""One made-up request for a model, and whether the answer is what the config promises."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Final

from pyserver.check.findings import Severity
from pyserver.check.subject import Subject
from pyserver.config.model_config_pb2 import DataType, ModelConfig
from pyserver.control.grpc_stubs import grpc_service_pb2 as messages
from pyserver.datatype import BY_NUMBER, Datatype

# A larger one is not sent: nobody asked for a load test.
_MOST_BYTES: Final = 256 << 20

_ONES: Final = {
    "FP16": b"\x00\x3c",
    "BF16": b"\x80\x3f",
    "FP32": struct.pack("<f", 1.0),
    "FP64": struct.pack("<d", 1.0),
    "BYTES": b"\x01\x00\x00\x001",
}


def make_request(
    config: ModelConfig, *, ones: bool, number: int
) -> messages.ModelInferRequest | None:
    """All inputs that are not optional (all, if all are), of one row, with 1 for each variable
    dimension; a sequence of one step for a model that takes sequences. `number` is its correlation
    id. None if it would be too large.
    """
    request = messages.ModelInferRequest(model_name=config.name)
    size = 0
    required = [tensor for tensor in config.input if not tensor.optional]
    for tensor in required or config.input:
        kind = BY_NUMBER[tensor.data_type]
        shape = [1 if dim == -1 else dim for dim in tensor.dims]
        if config.max_batch_size > 0:
            shape = [1, *shape]
        element = _element(kind, ones)
        size += math.prod(shape) * len(element)
        if size > _MOST_BYTES:
            return None
        request.inputs.add(name=tensor.name, datatype=kind.wire_name, shape=shape)
        request.raw_input_contents.append(element * math.prod(shape))
    if config.HasField("sequence_batching"):
        request.parameters["sequence_id"].int64_param = number
        request.parameters["sequence_start"].bool_param = True
        request.parameters["sequence_end"].bool_param = True
    return request


def _element(kind: Datatype, ones: bool) -> bytes:
    if not ones:
        return bytes(kind.byte_size or 4)  # BYTES: a text of length 0
    return _ONES.get(kind.wire_name) or (1).to_bytes(kind.byte_size, "little")


def takes_text(config: ModelConfig) -> bool:
    """Whether it has an input of which nobody can guess what it should hold."""
    return any(tensor.data_type == DataType.TYPE_STRING for tensor in config.input)


def judge_answer(
    subject: Subject, config: ModelConfig, responses: Sequence[messages.ModelInferResponse]
) -> None:
    """Whether all outputs are there, with the datatypes and shapes that clients are told of."""
    some_optional = any(tensor.optional for tensor in config.input)
    seen = {output.name: output for response in responses for output in response.outputs}
    for index, output in enumerate(config.output):
        path = ("output", index)
        found = seen.get(output.name)
        if found is None:
            if not config.model_transaction_policy.decoupled:
                subject.add(
                    (*path, "name"),
                    f"the model's answer has no output '{output.name}'; it has"
                    f" {', '.join(sorted(seen)) or 'none'}",
                    "let the model return it, or remove it here",
                    subject.text.removing(path),
                    # Which outputs there are may depend on which inputs came.
                    severity=Severity.WARNING if some_optional else Severity.MISTAKE,
                )
            continue
        kind = BY_NUMBER[output.data_type]
        if found.datatype != kind.wire_name:
            name = next(k.config_name for k in BY_NUMBER.values() if k.wire_name == found.datatype)
            subject.add(
                (*path, "data_type"),
                f"the model's answer has output '{output.name}' as {found.datatype}, and the config"
                f" says {kind.config_name}",
                f"use data_type: {name}",
                subject.text.setting((*path, "data_type"), name),
            )
        shape = list(found.shape)
        given = [*([-1] if config.max_batch_size > 0 else []), *output.dims]
        if len(shape) != len(given) or any(
            a != b and b != -1 for a, b in zip(shape, given, strict=True)
        ):
            dims = [*shape[1:]] if config.max_batch_size > 0 else shape
            value = "[ " + ", ".join(str(dim) for dim in dims) + " ]"
            subject.add(
                (*path, "dims"),
                f"clients are told that output '{output.name}' has the shape {given}, and it came"
                f" as {shape}",
                f"use dims: {value}, with -1 where it varies",
                subject.text.setting((*path, "dims"), value),
                severity=Severity.WARNING,
            )
