"""The table of datatypes agrees with numpy, with the proto file and with itself."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pyserver import datatype
from pyserver.config.model_config_pb2 import DataType
from pyserver.datatype import DATATYPES, Datatype


@pytest.mark.parametrize("kind", DATATYPES, ids=lambda kind: kind.wire_name)
def test_a_datatype_is_the_same_under_each_name(kind: Datatype) -> None:
    assert DataType.Value(kind.config_name) == kind.number
    assert datatype.wire_name(kind.number) == kind.wire_name
    assert datatype.config_name(kind.number) == kind.config_name
    assert datatype.BY_WIRE_NAME[kind.wire_name] is kind
    assert datatype.BY_CONFIG_NAME[kind.config_name] is kind
    if kind.numpy_name not in (None, "object"):
        assert np.dtype(kind.numpy_name).itemsize == kind.byte_size
    assert (kind.contents_field is None) == (kind.wire_name in ("FP16", "BF16"))
    assert kind.json_data == (kind.contents_field is not None)


def test_every_datatype_of_the_proto_file_is_in_the_table() -> None:
    assert {0, *(kind.number for kind in DATATYPES)} == set(DataType.values())


@pytest.mark.parametrize("number", [0, 15, -1])
def test_other_numbers_are_invalid(number: int) -> None:
    assert datatype.wire_name(number) == "<invalid>"
    assert datatype.config_name(number) == "TYPE_INVALID"


def test_the_table_imports_nothing_heavy() -> None:
    code = "import sys, pyserver.datatype, pyserver.errors, pyserver.config; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "google.protobuf", "grpc"} & set(ran.stdout.split())
