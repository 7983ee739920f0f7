"""Our services are Triton's and gRPC's message for message, and live in one process with theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from pyserver.control.grpc_stubs import grpc_service_pb2, health_pb2, reflection_pb2

ROOT = Path(__file__).resolve().parents[2]
OURS = "from pyserver.control.grpc_stubs import grpc_service_pb2 as ours, health_pb2"
THEIRS = "import tritonclient.grpc; from tritonclient.grpc import service_pb2 as theirs"
CHECK = """
made = ours.ModelInferRequest(model_name="m", raw_input_contents=[b"1234"])
made.parameters["priority"].uint64_param = 2**63
made.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(0.5)
read = theirs.ModelInferRequest.FromString(made.SerializeToString())
assert read.inputs[0].contents.fp32_contents == [0.5]
assert read.parameters["priority"].uint64_param == 2**63
assert ours.ModelInferRequest.FromString(read.SerializeToString()) == made
print("both")
"""


def described(module: object) -> FileDescriptorProto:
    """The file, its messages and methods in the order of their names."""
    file = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)  # type: ignore[attr-defined]
    file.message_type.sort(key=lambda one: one.name)
    for service in file.service:
        service.method.sort(key=lambda one: one.name)
        for method in service.method:
            method.ClearField("options")  # set and empty in theirs
    return file


def test_every_service_message_field_and_number_is_tritons() -> None:
    theirs = pytest.importorskip("tritonclient.grpc.service_pb2")
    assert described(grpc_service_pb2) == described(theirs)


def test_reflection_is_grpcs() -> None:
    theirs = described(pytest.importorskip("grpc_reflection.v1alpha.reflection_pb2"))
    ours = described(reflection_pb2)

    def shape(file: FileDescriptorProto) -> list[tuple[str, list[tuple[str, int, int, int]]]]:
        return [
            (one.name, sorted((f.name, f.number, f.label, f.type) for f in one.field))
            for one in file.message_type
        ]

    assert shape(ours) == shape(theirs)


def test_health_is_grpcs() -> None:
    service = health_pb2.DESCRIPTOR.services_by_name["Health"]
    assert service.full_name == "grpc.health.v1.Health"
    watch = service.methods_by_name["Watch"]
    assert (watch.client_streaming, watch.server_streaming) == (False, True)
    assert dict(health_pb2.HealthCheckResponse.ServingStatus.items()) == {
        "UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2, "SERVICE_UNKNOWN": 3,
    }  # fmt: skip


@pytest.mark.parametrize("implementation", ["upb", "python"])
@pytest.mark.parametrize("imports", [(OURS, THEIRS), (THEIRS, OURS)], ids=["ours", "theirs"])
def test_ours_and_tritonclients_live_in_one_process(
    imports: tuple[str, str], implementation: str
) -> None:
    pytest.importorskip("tritonclient.grpc")
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join((*imports, CHECK))],
        env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "both\n", ran.stderr


def test_the_way_in_does_not_import_grpcio() -> None:
    code = "import sys, pyserver.control.grpc_api.start; print('grpc' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "False\n"
