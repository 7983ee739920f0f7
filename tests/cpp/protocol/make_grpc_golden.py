"""Write grpc_golden.inc: messages by Google's protobuf, for the C++ tests to read and to reproduce.

    .venv/bin/python tests/cpp/protocol/make_grpc_golden.py [WIRES [FILE]]

Only needed again when the tables below or the protos change. Requests are decoded by
grpc_golden_test.cc against the tensor that is given with each; wires are damaged requests, with
Google's verdict on whether they are messages at all; responses are what the encoder must produce
byte for byte.
"""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from google.protobuf.message import DecodeError, Message

from pyserver.control.grpc_stubs import grpc_service_pb2 as pb

_OUT = Path(__file__).with_name("grpc_golden.inc")
_WIRES = 200
_SEED = 20261123


def _quoted(data: bytes) -> str:
    """The bytes as a C++ string literal; octal, because hexadecimal escapes have no end."""
    text = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}" for byte in data
    )
    return f'"{text}"'


def _row(*cells: str) -> str:
    return "    {" + ", ".join(cells) + "},"


def _sized(data: bytes) -> str:
    return f"{{{_quoted(data)}, {len(data)}}}"


def _serialized(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _strings(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


# datatype, field of contents, values, what they mean
_TYPED: tuple[tuple[str, str, list[object], bytes], ...] = (
    ("BOOL", "bool_contents", [True, False], b"\1\0"),
    ("INT8", "int_contents", [-128, 127, 3], struct.pack("<3b", -128, 127, 3)),
    ("INT16", "int_contents", [-32768, 32767], struct.pack("<2h", -32768, 32767)),
    ("INT32", "int_contents", [-(2**31), 2**31 - 1], struct.pack("<2i", -(2**31), 2**31 - 1)),
    ("INT64", "int64_contents", [-(2**63), 2**63 - 1], struct.pack("<2q", -(2**63), 2**63 - 1)),
    ("UINT8", "uint_contents", [0, 255], b"\0\xff"),
    ("UINT16", "uint_contents", [1, 65535], struct.pack("<2H", 1, 65535)),
    ("UINT32", "uint_contents", [2**32 - 1], struct.pack("<I", 2**32 - 1)),
    ("UINT64", "uint64_contents", [2**64 - 1, 0], struct.pack("<2Q", 2**64 - 1, 0)),
    ("FP32", "fp32_contents", [0.5, -2.25], struct.pack("<2f", 0.5, -2.25)),
    ("FP64", "fp64_contents", [0.1, 1e300], struct.pack("<2d", 0.1, 1e300)),
    ("BYTES", "bytes_contents", [b"a", b"", b"\xff\0"], _strings(b"a", b"", b"\xff\0")),
)


def _request(datatype: str, count: int) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="any", id="r")
    tensor = request.inputs.add(name="IN", datatype=datatype)
    tensor.shape.append(count)
    return request


def _typed_request(datatype: str, field: str, values: list[object]) -> pb.ModelInferRequest:
    request = _request(datatype, len(values))
    getattr(request.inputs[0].contents, field).extend(values)
    request.parameters["k"].int64_param = 5
    return request


def _requests() -> list[str]:
    rows = []
    for datatype, field, values, tensor in _TYPED:
        for message in (
            _typed_request(datatype, field, values),
            _raw_request(datatype, values, tensor),
        ):
            rows.append(_row(f'"{datatype}"', _sized(_serialized(message)), _sized(tensor)))
    return rows


def _raw_request(datatype: str, values: list[object], tensor: bytes) -> pb.ModelInferRequest:
    request = _request(datatype, len(values))
    request.raw_input_contents.append(tensor)
    request.outputs.add(name="OUT").parameters["binary_data"].bool_param = True
    return request


def _is_message(data: bytes) -> bool:
    try:
        pb.ModelInferRequest.FromString(data)
    except DecodeError:
        return False
    return True


def _damage(data: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at = chance.randrange(len(damaged))
        kind = chance.randrange(5)
        if kind == 0:
            damaged[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            damaged[at] = chance.randrange(256)
        elif kind == 2:
            del damaged[at : at + chance.randrange(1, 4)]
        elif kind == 3:
            damaged[at:at] = chance.randbytes(chance.randrange(1, 4))
        else:
            damaged[at:at] = bytes((chance.choice((0x0B, 0x0C, 0x53, 0x54, 0xFF, 0x80, 0x00)),))
        if not damaged:
            damaged += b"\0"
    return bytes(damaged)


def _wires(count: int) -> list[str]:
    """As many that are messages in spite of the damage as that are none."""
    chance = random.Random(_SEED)
    rows: dict[bool, list[str]] = {True: [], False: []}
    while min(len(of_kind) for of_kind in rows.values()) < count // 2:
        datatype, field, values, _tensor = chance.choice(_TYPED)
        data = _damage(_serialized(_typed_request(datatype, field, values)), chance)
        verdict = _is_message(data)
        if len(rows[verdict]) < count // 2:
            rows[verdict].append(_row(f'"{datatype}"', _sized(data), str(verdict).lower()))
    return rows[True] + rows[False]


def _response(identifier: str) -> pb.ModelInferResponse:
    return pb.ModelInferResponse(model_name="any", model_version="1", id=identifier)


def _with_output(
    response: pb.ModelInferResponse, name: str, datatype: str, shape: list[int], raw: bytes
) -> pb.ModelInferResponse:
    tensor = response.outputs.add(name=name, datatype=datatype)
    tensor.shape.extend(shape)
    response.raw_output_contents.append(raw)
    return response


def _parameter(key: str, **value: bool | int | float | str) -> pb.ModelInferResponse:
    response = _response("")
    response.parameters[key].CopyFrom(pb.InferParameter(**value))
    return response


def _final(response: pb.ModelInferResponse, final: bool) -> pb.ModelStreamInferResponse:
    response.parameters["triton_final_response"].bool_param = final
    return pb.ModelStreamInferResponse(infer_response=response)


def _responses() -> list[str]:
    plain = _with_output(_response("r"), "OUT", "FP32", [1, 2], struct.pack("<2f", 1, 2))
    several = _response("r")
    _with_output(several, "OUT", "INT8", [-1, 2**40, 0], b"")
    _with_output(several, "B", "BYTES", [2], _strings(b"x", b"y" * 300))
    _with_output(several, "C", "INT8", [0], b"")
    table: dict[str, Message] = {
        "plain": plain,
        "several": several,
        "nothing": _response(""),
        "bool": _parameter("flag", bool_param=False),
        "int": _parameter("whole", int64_param=-1),
        "double": _parameter("real", double_param=0.0),
        "string": _parameter("", string_param=""),
        "classes": _with_output(_response(""), "OUT", "BYTES", [2], _strings(b"3:2:fox", b"2:1")),
        "stream": _final(_with_output(_response("r"), "OUT", "INT8", [1], b"\7"), False),
        "stream_final": _final(_with_output(_response("r"), "OUT", "INT8", [1], b"\7"), True),
        "only_final": _final(pb.ModelInferResponse(model_name="any", id="r"), True),
        "error": pb.ModelStreamInferResponse(
            error_message="no", infer_response=pb.ModelInferResponse(id="r")
        ),
        "bare_error": pb.ModelStreamInferResponse(
            error_message="no", infer_response=pb.ModelInferResponse()
        ),
        "late_error": pb.ModelStreamInferResponse(
            error_message="no", infer_response=_final(_response("r"), True).infer_response
        ),
    }
    return [_row(f'"{name}"', _sized(_serialized(message))) for name, message in table.items()]


def main() -> None:
    """Write the file."""
    wires = int(sys.argv[1]) if len(sys.argv) > 1 else _WIRES
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else _OUT
    lines = [
        "// Messages written by make_grpc_golden.py with Google's protobuf; do not edit.",
        "// clang-format off",
    ]
    for kind, name, rows in (
        ("GoldenRequest", "kRequests", _requests()),
        ("GoldenWire", "kWires", _wires(wires)),
        ("GoldenResponse", "kResponses", _responses()),
    ):
        lines += [f"constexpr {kind} {name}[] = {{", *rows, "};"]
    out.write_text("\n".join(lines) + "\n")
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
