"""Write seeds for the fuzz targets: `python tests/fuzz/make_seeds.py FOLDER`, a folder each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

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


def main(folder: Path) -> None:
    seeds = {
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
