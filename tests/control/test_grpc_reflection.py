"""Server reflection, asked by grpcio's own client and by hand, in both of its versions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from pyserver.control.grpc_stubs import reflection_pb2 as pb
from tests.control.grpc_bench import GrpcBench, grpc_bench

SERVICES = [
    "inference.GRPCInferenceService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
]
REQUEST = pb.ServerReflectionRequest


@pytest.fixture
async def bench() -> AsyncIterator[GrpcBench]:
    async with grpc_bench() as one:
        yield one


async def ask(
    bench: GrpcBench, *requests: pb.ServerReflectionRequest, version: str = "v1"
) -> list[pb.ServerReflectionResponse]:
    call = bench.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=pb.ServerReflectionRequest.SerializeToString,
        response_deserializer=pb.ServerReflectionResponse.FromString,
    )
    return [answer async for answer in call(iter(requests))]


def file_names(answer: pb.ServerReflectionResponse) -> list[str]:
    files = answer.file_descriptor_response.file_descriptor_proto
    return [FileDescriptorProto.FromString(one).name for one in files]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_one_stream_answers_all_questions_in_order(bench: GrpcBench, version: str) -> None:
    requests = [
        REQUEST(host="h", list_services="*"),
        REQUEST(file_by_filename="health.proto"),
        REQUEST(file_containing_symbol="inference.ModelConfig"),
    ]
    answers = await ask(bench, *requests, version=version)
    assert [one.original_request for one in answers] == requests
    assert answers[0].valid_host == "h"
    assert [one.name for one in answers[0].list_services_response.service] == SERVICES
    assert file_names(answers[1]) == ["health.proto"]
    assert file_names(answers[2]) == ["model_config.proto"]


@pytest.mark.parametrize(
    ("symbol", "files"),
    [
        ("inference.GRPCInferenceService", ["grpc_service.proto", "model_config.proto"]),
        ("inference.GRPCInferenceService.ModelInfer", ["grpc_service.proto", "model_config.proto"]),
        ("inference.ModelInferRequest.raw_input_contents", None),
        ("inference.ModelRepositoryParameter.parameter_choice", None),
        ("inference.ModelMetadataResponse.TensorMetadata", None),
        ("inference.DataType", ["model_config.proto"]),
        ("inference.TYPE_FP32", ["model_config.proto"]),
        ("grpc.health.v1.Health", ["health.proto"]),
        ("grpc.reflection.v1.ServerReflection", ["reflection.proto"]),
        ("grpc.reflection.v1alpha.ServerReflectionRequest", ["reflection_v1alpha.proto"]),
    ],
)
async def test_every_kind_of_symbol_is_found(
    bench: GrpcBench, symbol: str, files: list[str] | None
) -> None:
    (answer,) = await ask(bench, REQUEST(file_containing_symbol=symbol))
    assert file_names(answer) == (files or ["grpc_service.proto", "model_config.proto"])


NOT_FOUND, INVALID_ARGUMENT = 5, 3
EXTENSION = pb.ExtensionRequest(containing_type="inference.ModelConfig", extension_number=100)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (REQUEST(file_by_filename="nope.proto"), NOT_FOUND),
        (REQUEST(file_containing_symbol="inference.Nope"), NOT_FOUND),
        (REQUEST(file_containing_symbol=""), NOT_FOUND),
        (REQUEST(file_containing_extension=EXTENSION), NOT_FOUND),
        (REQUEST(all_extension_numbers_of_type="inference.Nope"), NOT_FOUND),
        (REQUEST(), INVALID_ARGUMENT),
    ],
    ids=str,
)
async def test_what_is_not_there_is_an_answer_and_the_stream_goes_on(
    bench: GrpcBench, request_: pb.ServerReflectionRequest, code: int
) -> None:
    answer, after = await ask(bench, request_, REQUEST(list_services=""))
    assert answer.error_response.error_code == code
    assert after.HasField("list_services_response")


async def test_messages_have_no_extensions(bench: GrpcBench) -> None:
    (answer,) = await ask(bench, REQUEST(all_extension_numbers_of_type="inference.ModelConfig"))
    assert answer.all_extension_numbers_response.base_type_name == "inference.ModelConfig"
    assert list(answer.all_extension_numbers_response.extension_number) == []


async def test_grpcios_own_client_calls_a_method_that_it_learns_of_here(bench: GrpcBench) -> None:
    database = pytest.importorskip("grpc_reflection.v1alpha.proto_reflection_descriptor_database")

    def explore() -> tuple[list[str], dict[str, str]]:
        with grpc.insecure_channel(bench.target) as channel:
            found = database.ProtoReflectionDescriptorDatabase(channel)
            pool = DescriptorPool(found)
            service = pool.FindServiceByName("inference.GRPCInferenceService")
            method = service.FindMethodByName("ModelReady")
            request = GetMessageClass(method.input_type)(name="m", version="3")
            call = channel.unary_unary(f"/{service.full_name}/{method.name}")
            answer = GetMessageClass(method.output_type).FromString(
                call(request.SerializeToString(), timeout=5)
            )
            types = {one.name: one.input_type.full_name for one in service.methods}
            return [*found.get_services(), str(answer).strip()], types

    names, types = await asyncio.to_thread(explore)
    assert names == [*SERVICES, "ready: true"]
    assert len(types) == 20
    assert types["ModelStreamInfer"] == "inference.ModelInferRequest"
