"""Our proto file is field for field Triton's, and lives in one process with Triton's client."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from pyserver.config import model_config_pb2

ROOT = Path(__file__).resolve().parents[2]
OURS = "from pyserver.config import model_config_pb2 as ours"
THEIRS = "from tritonclient.grpc import model_config_pb2 as theirs"
CHECK = """
made = ours.ModelConfig(name="m", max_batch_size=3)
made.input.add(name="x", data_type=ours.TYPE_FP32, dims=[-1, 2])
read = theirs.ModelConfig.FromString(made.SerializeToString())
assert read.input[0].dims == [-1, 2]
assert ours.ModelConfig.FromString(read.SerializeToString()) == made
print("both")
"""


@pytest.fixture(scope="module")
def theirs() -> ModuleType:
    try:
        return importlib.import_module("tritonclient.grpc.model_config_pb2")
    except (ImportError, RuntimeError):  # the latter is what tritonclient raises without grpc
        pytest.skip("tritonclient[grpc] is not installed")


@pytest.mark.parametrize("implementation", ["upb", "python"])
@pytest.mark.parametrize("imports", [(OURS, THEIRS), (THEIRS, OURS)], ids=["ours", "theirs"])
def test_ours_and_tritonclients_messages_live_in_one_process(
    imports: tuple[str, str], implementation: str, theirs: ModuleType
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join((*imports, CHECK))],
        env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "both\n", ran.stderr


def test_every_message_field_and_number_is_tritons(theirs: ModuleType) -> None:
    files = []
    for module in (model_config_pb2, theirs):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        files.append(file)
    assert files[0] == files[1]


def test_the_committed_stub_is_what_the_generator_makes() -> None:
    pytest.importorskip("grpc_tools")
    from tools.make_protos import STUBS, stub_texts

    for proto in STUBS:
        for path, text in stub_texts(proto).items():
            assert (ROOT / path).read_text() == text, "run: python tools/make_protos.py"
