"""The control tensors that a model with sequences asks for, as the native executor takes them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

from pyserver.datatype import DATATYPES

# Numbers of csrc/instance/controls.h, by ModelSequenceBatching.Control.Kind.
_KINDS: Final = {
    "CONTROL_SEQUENCE_START": 0,
    "CONTROL_SEQUENCE_READY": 1,
    "CONTROL_SEQUENCE_END": 2,
    "CONTROL_SEQUENCE_CORRID": 3,
}
# The pair that a control may be given by: its datatype, and one element in wire form.
_PAIRS: Final = {
    "int32_false_true": ("TYPE_INT32", "<i"),
    "fp32_false_true": ("TYPE_FP32", "<f"),
    "bool_false_true": ("TYPE_BOOL", "<?"),
}
_NUMBERS: Final = {row.config_name: row.number for row in DATATYPES}

Control = tuple[str, int, int, bytes, bytes]


def control_tensors(config: Mapping[str, Any]) -> list[Control]:
    """(name, kind, datatype number, bytes when false, bytes when true) of each control."""
    inputs = config.get("sequence_batching", {}).get("control_input", [])
    return [_control(one["name"], control) for one in inputs for control in one["control"]]


def _control(name: str, control: Mapping[str, Any]) -> Control:
    kind = _KINDS[control.get("kind", "CONTROL_SEQUENCE_START")]
    for key, (datatype, form) in _PAIRS.items():
        values = control.get(key)
        if values:
            false, true = (struct.pack(form, value) for value in values)
            return name, kind, _NUMBERS[datatype], false, true
    return name, kind, _NUMBERS[control["data_type"]], b"", b""
