"""From HTTP's table to gRPC's: what is carried over, and what is left out and why."""

from __future__ import annotations

import struct

import pytest

from pyserver.control.grpc_stubs import grpc_service_pb2 as pb
from tests.wire import requests as http
from tests.wire_grpc.requests import GrpcRequest, contents, given, message
from tests.wire_grpc.translate import FRAMING, PATH, VERB, translate
from tests.wire_grpc.translate_infer import ENCODING, JSON_TYPE, NOT_JSON, RAW_BODY, SPLIT


def _call(row: http.WireRequest) -> GrpcRequest:
    made = translate(row)
    assert isinstance(made, GrpcRequest)
    return made


def _infer(row: http.WireRequest) -> pb.ModelInferRequest:
    return pb.ModelInferRequest.FromString(_call(row).messages[0])


def test_all_of_an_inference_request_is_carried_over() -> None:
    row = http.infer(
        "all",
        "m",
        {
            "id": "i",
            "parameters": {"b": True, "n": -7, "u": 2**63, "d": 0.5, "s": "t"},
            "inputs": [
                http.tensor("A", "INT32", [1, 2], [[1], [2]], region="r"),
                http.tensor("B", "UINT8", [2], binary_data_size=2),
            ],
            "outputs": [{"name": "C", "parameters": {"classification": 2}}],
        },
        binary=b"xyz",
        version="3",
    )
    made = _infer(row)
    assert (made.model_name, made.model_version, made.id) == ("m", "3", "i")
    kinds = {key: value.WhichOneof("parameter_choice") for key, value in made.parameters.items()}
    assert kinds == {
        "b": "bool_param",
        "n": "int64_param",
        "u": "uint64_param",
        "d": "double_param",
        "s": "string_param",
    }
    first, second = made.inputs
    assert (first.name, first.datatype, list(first.shape)) == ("A", "INT32", [1, 2])
    assert list(first.contents.int_contents) == [1, 2]
    assert first.parameters["region"].string_param == "r"
    assert not second.HasField("contents")
    assert list(made.raw_input_contents) == [b"xy", b"z"]
    assert made.outputs[0].parameters["classification"].int64_param == 2


@pytest.mark.parametrize(
    ("datatype", "data", "members"),
    [
        ("FP32", [1, 2.5], {"fp32_contents": [1, 2.5]}),
        ("FP64", [1, 2.5], {"fp64_contents": [1, 2.5]}),
        ("INT32", [1.5], {"fp64_contents": [1.5]}),
        ("INT32", ["1"], {"bytes_contents": [b"1"]}),
        ("FP32", [True, 2], {"bool_contents": [True], "fp32_contents": [2]}),
        ("BYTES", [5], {"int64_contents": [5]}),
        ("UINT64", [2**64 - 1], {"uint64_contents": [2**64 - 1]}),
        ("INT8", [300], {"int_contents": [300]}),
    ],
)
def test_each_value_goes_into_the_field_of_its_kind(datatype, data, members) -> None:
    made = _infer(http.infer("", "m", {"inputs": [http.tensor("A", datatype, [1], data)]}))
    found = {field.name: list(values) for field, values in made.inputs[0].contents.ListFields()}
    assert found == members


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (http.WireRequest("", raw=b"GET / HTTP/1.1\r\n\r\n"), FRAMING),
        (http.post("", "/v2/health/live"), VERB),
        (http.get("", "/v2/models/m/infer"), VERB),
        (http.get("", "/nowhere"), PATH),
        (http.infer("", "m", "{"), NOT_JSON),
        (http.infer("", "m", {"id": 7}), JSON_TYPE),
        (http.infer("", "m", b"raw", header_length=0), RAW_BODY),
        (http.infer("", "m", "{}", header_length=9), SPLIT),
        (http.infer("", "m", "{}", headers=(("Content-Encoding", "br"),)), ENCODING),
    ],
)
def test_what_has_no_meaning_is_left_out_with_its_reason(row, reason: str) -> None:
    assert translate(row) == reason


def test_other_endpoints_become_their_methods() -> None:
    ready = _call(http.get("", "/v2/models/m/versions/2/ready"))
    assert ready.method == "ModelReady"
    assert pb.ModelReadyRequest.FromString(ready.messages[0]).version == "2"
    index = _call(http.post("", "/v2/repository/r/index", b'{"ready":true}'))
    asked = pb.RepositoryIndexRequest.FromString(index.messages[0])
    assert (index.method, asked.repository_name, asked.ready) == ("RepositoryIndex", "r", True)
    status = _call(http.get("", "/v2/cudasharedmemory/region/x/status"))
    assert status.method == "CudaSharedMemoryStatus"


def test_messages_made_by_hand_are_what_google_would_make() -> None:
    one = given("A", "FP32", [1, -1], contents(fp32=[1.5], bytes=[b"b"]), region="r")
    made = pb.ModelInferRequest.FromString(
        message("m", one, raw=[struct.pack("<f", 1.5)], parameters={"k": -1}, request_id="i")
    )
    again = pb.ModelInferRequest(model_name="m", id="i", raw_input_contents=[b"\0\0\xc0\x3f"])
    again.parameters["k"].int64_param = -1
    tensor = again.inputs.add(name="A", datatype="FP32", shape=[1, -1])
    tensor.contents.fp32_contents.append(1.5)
    tensor.contents.bytes_contents.append(b"b")
    tensor.parameters["region"].string_param = "r"
    assert made == again
