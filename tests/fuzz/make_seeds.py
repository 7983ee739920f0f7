"""Write seeds for the fuzz targets: `python tests/fuzz/make_seeds.py FOLDER`, a folder each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pyserver.control.grpc_stubs import grpc_service_pb2 as pb
from tests.wire.table import TABLE

# What http_json_fuzz makes of the first byte: the datatypes by number, then its other models.
_MODELS = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BYTES", "BF16"),
)
_IDENTITY, _TWO, _SEQUENCE = 14, 15, 16
_NO_HEADER, _LAST_BRACE = 255, 254

_CATALOG = (
    '{"op":"model","name":"m","versions":[]}',
    json.dumps(
        {
            "op": "model",
            "name": "m",
            "versions": [
                {"version": 1, "handle": 3, "state": "UNAVAILABLE", "spec": None},
                {
                    "version": 2,
                    "handle": 4,
                    "state": "READY",
                    "spec": {
                        "max_batch_size": 8,
                        "decoupled": False,
                        "inputs": [
                            {
                                "name": "A",
                                "datatype": "FP32",
                                "dims": [-1, 2],
                                "reshape": [-1],
                                "optional": True,
                                "ragged": False,
                                "shape_tensor": False,
                            }
                        ],
                        "outputs": [
                            {
                                "name": "B",
                                "datatype": "BYTES",
                                "dims": [1],
                                "labels": ["cat", "dog"],
                            }
                        ],
                        "sequence": {"correlation_datatype": "STRING"},
                    },
                },
            ],
        }
    ),
)


def _bodies() -> list[bytes]:
    """The inference bodies of the wire table, with names that the fuzz target's models have."""
    made = []
    for row in TABLE:
        if not row.path.endswith("/infer") or not row.body or len(row.body) > 2000:
            continue
        datatype = next((n for n, d in enumerate(_MODELS) if d.lower() in row.model), _IDENTITY)
        length = {name.lower() for name, _ in row.headers}
        mode = _LAST_BRACE if "inference-header-content-length" in length else _NO_HEADER
        body = row.body if datatype == _IDENTITY else row.body.replace(b'"INPUT0"', b'"IN"')
        made.append(bytes((datatype, mode)) + body.replace(b'"OUTPUT0"', b'"OUT"'))
    two = (
        b'{"id":"7","parameters":{"sequence_id":"s","timeout":5,"x":1.5},"inputs":[{"name":"A",'
        b'"shape":[1,1,2],"datatype":"FP32","parameters":{"binary_data_size":8}},{"name":"B",'
        b'"shape":[1,2],"datatype":"BYTES","data":["a",["\\u00e9"]]}],"outputs":[{"name":"Y",'
        b'"parameters":{"binary_data":true}},{"name":"X","parameters":{"classification":2}}]}'
    )
    made.append(bytes((_TWO, _LAST_BRACE)) + two + b"12345678")
    made.append(bytes((_SEQUENCE, _NO_HEADER)) + two)
    return made


_CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def _messages() -> list[bytes]:
    """Requests over gRPC: each datatype typed and raw, and one with everything."""
    made = []
    for number, datatype in enumerate(_MODELS):
        request = pb.ModelInferRequest(model_name="any", id="7")
        tensor = request.inputs.add(name="IN", datatype=datatype, shape=[2])
        raw = pb.ModelInferRequest()
        raw.CopyFrom(request)
        raw.raw_input_contents.append(b"\0" * 16)
        made.append(bytes((number,)) + raw.SerializeToString())
        if datatype in _CONTENTS:
            values = [b"x", b""] if datatype == "BYTES" else [1, 0]
            getattr(tensor.contents, _CONTENTS[datatype]).extend(values)
            made.append(bytes((number,)) + request.SerializeToString())
    two = pb.ModelInferRequest(model_name="two", model_version="1", id="7")
    two.inputs.add(name="A", datatype="FP32", shape=[1, 1, 2])
    two.inputs.add(name="B", datatype="BYTES", shape=[1, 2])
    two.outputs.add(name="Y")
    two.outputs.add(name="X").parameters["classification"].int64_param = 2
    two.parameters["sequence_id"].string_param = "s"
    two.parameters["sequence_start"].bool_param = True
    two.parameters["priority"].uint64_param = 2
    two.parameters["timeout"].int64_param = 5
    two.parameters["real"].double_param = 1.5
    two.parameters["triton_enable_empty_final_response"].bool_param = True
    two.raw_input_contents.extend((b"12345678", b"\1\0\0\0a\0\0\0\0"))
    made.append(bytes((_TWO,)) + two.SerializeToString())
    two.inputs[0].parameters["shared_memory_region"].string_param = "r"
    two.inputs[0].parameters["shared_memory_offset"].int64_param = 0
    two.inputs[0].parameters["shared_memory_byte_size"].int64_param = 8
    made.append(bytes((_TWO,)) + two.SerializeToString())
    return made


def main(folder: Path) -> None:
    seeds = {
        "grpc_decode": _messages(),
        "http_json": _bodies(),
        "catalog": [text.encode() for text in _CATALOG],
    }
    for target, bodies in seeds.items():
        place = folder / target
        place.mkdir(parents=True, exist_ok=True)
        for number, body in enumerate(bodies):
            (place / f"{number:04}").write_bytes(body)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
