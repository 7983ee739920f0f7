"""Reflection through the frontend's port: what grpcurl and its kin do, by grpcio's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from bench.targets.pyserver import Pyserver

SERVICES = [
    "inference.GRPCInferenceService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
]
Call = Callable[..., Any]


@pytest.fixture(params=["grpc", "http"])
def channel(server: Pyserver, request: pytest.FixtureRequest) -> Iterator[grpc.Channel]:
    """On either port: both speak both protocols."""
    assert server.ports is not None
    with grpc.insecure_channel(f"127.0.0.1:{getattr(server.ports, request.param)}") as one:
        yield one


@pytest.fixture
def pool(channel: grpc.Channel) -> DescriptorPool:
    """Knows nothing but what it asks the server."""
    return DescriptorPool(ProtoReflectionDescriptorDatabase(channel))


def unary(channel: grpc.Channel, pool: DescriptorPool, service: str, name: str) -> Call:
    """Call a method by name, fields as keywords, with types that came from the server."""
    method = pool.FindServiceByName(service).FindMethodByName(name)
    question, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = channel.unary_unary(
        f"/{service}/{name}",
        request_serializer=question.SerializeToString,
        response_deserializer=answer.FromString,
    )
    return lambda **fields: call(question(**fields), timeout=10)


def test_the_services_are_listed(channel: grpc.Channel) -> None:
    assert list(ProtoReflectionDescriptorDatabase(channel).get_services()) == SERVICES


@pytest.mark.parametrize("service", SERVICES)
def test_every_listed_service_is_described(pool: DescriptorPool, service: str) -> None:
    methods = pool.FindServiceByName(service).methods
    assert methods
    for method in methods:
        assert method.input_type.fields is not None
        assert method.output_type.fields is not None


# Field 1 with a wire type that does not exist: no method can read it.
UNREADABLE = b"\x0f"


def test_every_method_that_is_described_is_there(
    channel: grpc.Channel, pool: DescriptorPool
) -> None:
    methods = pool.FindServiceByName(SERVICES[0]).methods
    for method in (one for one in methods if not one.client_streaming):
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(f"/{SERVICES[0]}/{method.name}")(UNREADABLE, timeout=10)
        assert refused.value.code() is grpc.StatusCode.INTERNAL, method.name
    (stream,) = (one for one in methods if one.client_streaming)
    call = channel.stream_stream(f"/{SERVICES[0]}/{stream.name}")
    (answer,) = call(iter([UNREADABLE]), timeout=10)
    assert GetMessageClass(stream.output_type).FromString(answer).error_message


def test_an_inference_is_made_of_what_reflection_tells(
    channel: grpc.Channel, pool: DescriptorPool
) -> None:
    infer = unary(channel, pool, SERVICES[0], "ModelInfer")
    answer = infer(
        model_name="identity_fp32",
        id="7",
        inputs=[
            {
                "name": "INPUT0",
                "datatype": "FP32",
                "shape": [1, 2],
                "contents": {"fp32_contents": [1.5, -2.0]},
            }
        ],
    )
    assert (answer.model_name, answer.id) == ("identity_fp32", "7")
    assert [output.name for output in answer.outputs] == ["OUTPUT0"]
    assert answer.raw_output_contents[0].hex() == "0000c03f000000c0"


def test_health_is_asked_by_reflection_too(channel: grpc.Channel, pool: DescriptorPool) -> None:
    check = unary(channel, pool, "grpc.health.v1.Health", "Check")
    assert check(service="").status == 1  # SERVING
