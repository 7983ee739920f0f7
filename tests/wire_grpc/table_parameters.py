"""Parameters of the request, its inputs and its outputs, in each member of their oneof."""

from __future__ import annotations

from typing import Any

from tests.wire_grpc.protobuf_bytes import block, number
from tests.wire_grpc.requests import GrpcRequest, Variant, asked, contents, given, message

VARIANTS: dict[str, Variant] = {
    "bool": Variant("bool", True),
    "int64": Variant("int64", 7),
    "negative int64": Variant("int64", -7),
    "string": Variant("string", "seven"),
    "double": Variant("double", 7.5),
    "uint64": Variant("uint64", 7),
    "unset": Variant("unset"),
}
_INPUT = given("INPUT0", "INT32", [1], contents(int=[1]))
_PAIR_INPUT = given("INPUT0", "INT32", [1, 2], contents(int=[7, 8]))
_SCORES = given("INPUT0", "FP32", [1, 5], contents(fp32=[0.1, 0.7, 0.05, 2.5, 2.5]))


def _parameters(name: str, parameters: dict[str, Any], **fields: Any) -> GrpcRequest:
    """To the model that gives back what it sees of them."""
    return GrpcRequest(
        name=name, messages=(message("parameters", _INPUT, parameters=parameters, **fields),)
    )


KEYS = tuple(
    _parameters(f"parameter {key} as {how}", {key: value})
    for key in (
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "triton_enable_empty_final_response",
        "triton_other",
        "custom",
        "binary_data_output",
        "headers",
    )
    for how, value in VARIANTS.items()
)

VALUES = (
    _parameters("sequence_id of zero", {"sequence_id": 0}),
    _parameters("sequence_id largest", {"sequence_id": 2**63 - 1}),
    _parameters("sequence_id empty text", {"sequence_id": ""}),
    _parameters("sequence_id of 128 characters", {"sequence_id": "s" * 128}),
    _parameters("sequence_id of 129 characters", {"sequence_id": "s" * 129}),
    _parameters("sequence flags false", {"sequence_start": False, "sequence_end": False}),
    _parameters("sequence flags both", {"sequence_start": True, "sequence_end": True}),
    _parameters("priority zero", {"priority": 0}),
    _parameters("priority largest unsigned", {"priority": Variant("uint64", 2**64 - 1)}),
    _parameters("timeout zero", {"timeout": 0}),
    _parameters("timeout largest", {"timeout": 2**63 - 1}),
    _parameters("custom of every kind", {"a": True, "b": -1, "c": "text", "d": 0.5}),
    _parameters("custom largest and smallest", {"a": 2**63 - 1, "b": -(2**63)}),
    _parameters("custom empty key", {"": "nobody"}),
    _parameters("custom empty text", {"k": ""}),
    _parameters("custom double not a number", {"k": 1e300}),
    _parameters("custom key beyond ASCII", {"größe": "€"}),
    _parameters("custom key like a reserved one", {"Triton_x": 1, "tritonx": 2}),
    _parameters("reserved prefix alone", {"triton_": 1}),
    _parameters("request id seen by the model", {}, request_id="seen-1"),
    GrpcRequest(
        name="parameter twice, the last one counts",
        messages=(
            message("parameters", _INPUT, parameters={"k": 1})
            + block(4, block(1, "k") + block(2, number(2, 2))),
        ),
    ),
    GrpcRequest(
        name="parameter with two members, the last one counts",
        messages=(
            message("parameters", _INPUT)
            + block(4, block(1, "k") + block(2, number(2, 5) + block(3, "five"))),
        ),
    ),
    GrpcRequest(
        name="parameter without a key",
        messages=(message("parameters", _INPUT) + block(4, block(2, number(2, 5))),),
    ),
    GrpcRequest(
        name="parameter without a value",
        messages=(message("parameters", _INPUT) + block(4, block(1, "k")),),
    ),
)


def _on_input(name: str, **parameters: Any) -> GrpcRequest:
    one = given("INPUT0", "INT32", [1, 2], **parameters)
    return GrpcRequest(name=name, messages=(message("identity_int32", one, raw=[b"12345678"]),))


def _on_output(name: str, **parameters: Any) -> GrpcRequest:
    outputs = [asked("OUTPUT0", **parameters)]
    return GrpcRequest(
        name=name, messages=(message("identity_int32", _PAIR_INPUT, outputs=outputs),)
    )


_REGION = {"shared_memory_region": "no", "shared_memory_byte_size": 8}
_REGION_KEYS = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")

TENSORS = (
    *(
        row(f"{where} {key} as {how}", **{**_REGION, "shared_memory_offset": 0, key: value})
        for where, row in (("input", _on_input), ("output", _on_output))
        for key in _REGION_KEYS
        for how, value in VARIANTS.items()
    ),
    *(
        row
        for where, make in (("input", _on_input), ("output", _on_output))
        for row in (
            make(f"{where} region without a size", shared_memory_region="no"),
            make(f"{where} size without a region", shared_memory_byte_size=8),
            make(f"{where} offset without a region", shared_memory_offset=0),
            make(
                f"{where} offset and size without a region",
                shared_memory_offset=0,
                shared_memory_byte_size=8,
            ),
            make(f"{where} region empty", shared_memory_region="", shared_memory_byte_size=8),
            make(
                f"{where} region of no bytes", shared_memory_region="no", shared_memory_byte_size=0
            ),
            make(f"{where} unknown parameters", other=Variant("uint64", 1), more=Variant("unset")),
            make(f"{where} parameter reserved", triton_x=1),
        )
    ),
    *(
        _on_output(f"classification as {how}", classification=value)
        for how, value in VARIANTS.items()
        if how != "int64"
    ),
    _on_output("classification zero", classification=0),
    _on_output("classification with a region", classification=1, **_REGION),
    _on_output("classification zero with a region", classification=0, **_REGION),
    _on_output("classification wrong with a region", classification="x", **_REGION),
    _on_input("classification on an input", classification=2),
    *(
        GrpcRequest(
            name=f"classes {how}",
            messages=(
                message("classify", _SCORES, outputs=[asked("SCORES", classification=count)]),
            ),
        )
        for how, count in (("one", 1), ("all", 5), ("beyond int32", 2**40))
    ),
)

PARAMETERS: tuple[GrpcRequest, ...] = (*KEYS, *VALUES, *TENSORS)
