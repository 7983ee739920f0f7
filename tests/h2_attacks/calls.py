"""What a gRPC call is made of: its head, its messages, and what a right answer looks like."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from pyserver.control.grpc_stubs import grpc_service_pb2

Head = Iterable[tuple[str | bytes, str | bytes]]

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"  # answered by core, through the proxy
WATCH = "/grpc.health.v1.Health/Watch"  # never ends by itself

IDENTITY = "identity"  # FP32 [16], native
ANY_LENGTH = "big_identity"  # FP32 [-1], native
SLOW = "slow"  # FP32 [-1], 0.15 s each


def head(path: str = INFER, more: Head = (), *, without: Sequence[str] = ()) -> Head:
    """The fields of a gRPC request, pseudo ones first."""
    usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "127.0.0.1"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    return [field for field in usual if field[0] not in without] + list(more)


def infer_request(values: Sequence[float], model: str = IDENTITY) -> bytes:
    """A ModelInferRequest with one raw FP32 tensor."""
    request = grpc_service_pb2.ModelInferRequest(model_name=model)
    shape = [1, len(values)] if model == IDENTITY else [len(values)]
    request.inputs.add(name="INPUT0", datatype="FP32", shape=shape)
    request.raw_input_contents.append(struct.pack(f"<{len(values)}f", *values))
    return request.SerializeToString()


def sized_request(byte_size: int, model: str = ANY_LENGTH) -> bytes:
    """The same with so many bytes of zeros."""
    request = grpc_service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[byte_size // 4])
    request.raw_input_contents.append(bytes(byte_size))
    return request.SerializeToString()


def message(content: bytes, *, flag: int = 0, announced: int | None = None) -> bytes:
    """With gRPC's prefix; `announced` is the length that it gives instead of the truth."""
    return prefix(len(content) if announced is None else announced, flag=flag) + content


def prefix(announced: int, *, flag: int = 0) -> bytes:
    return struct.pack(">BL", flag, announced)


def is_right_answer(data: bytes, values: Sequence[float]) -> bool:
    """Whether `data` is one message with these numbers."""
    response = grpc_service_pb2.ModelInferResponse.FromString(data[5:])
    return list(response.raw_output_contents) == [struct.pack(f"<{len(values)}f", *values)]
