"""Generates the protobuf stubs under pyserver/ from protos/: `python tools/make_protos.py` (needs
grpcio-tools 1.81.1).

The generator registers each file in protobuf's process-wide default pool. A user's model may import
`tritonclient`, which registers files and messages of the same names there, and two such definitions
in one pool cannot live together. So one line of each stub is changed: ours go into the pool of
`pyserver.config.descriptor_pool`. And one stub imports another from where it lies, not from the
top level.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Proto file → the folder whose `<name>_pb2.py` and `<name>_pb2.pyi` are made from it.
STUBS: dict[str, str] = {
    "model_config.proto": "pyserver/config",
    "grpc_service.proto": "pyserver/control/grpc_stubs",
    "health.proto": "pyserver/control/grpc_stubs",
    "reflection.proto": "pyserver/control/grpc_stubs",
}

_FOR_MYPY = '# mypy: disable-error-code="type-arg, no-untyped-def"\n'
_GENERATED_POOL = "from google.protobuf import descriptor_pool as _descriptor_pool\n"
_OUR_POOL = "from pyserver.config import descriptor_pool as _descriptor_pool\n"
_TOP_LEVEL_IMPORT = re.compile(r"^import (\w+)_pb2 as (\w+)$", re.MULTILINE)


def stub_texts(proto: str) -> dict[str, str]:
    """Path below the repository's root → content, of the stubs of one file in protos/."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        arguments = [
            "protoc",
            f"-I{ROOT / 'protos'}",
            f"--python_out={folder}",
            f"--pyi_out={folder}",
            proto,
        ]
        if protoc.main(arguments) != 0:
            raise SystemExit(f"protoc failed on protos/{proto}")
        made = {path.name: path.read_text() for path in Path(folder).iterdir()}
    return {f"{STUBS[proto]}/{name}": _adapted(name, text) for name, text in made.items()}


def _adapted(name: str, text: str) -> str:
    """The stub with its imports and its pool replaced, or the .pyi with mypy told that its bare
    `Mapping`s are meant."""
    text = _TOP_LEVEL_IMPORT.sub(_import_from_folder, text)
    if name.endswith(".pyi"):
        return _FOR_MYPY + text
    if text.count(_GENERATED_POOL) != 1:
        raise SystemExit("the generator's output has changed: look at tools/make_protos.py")
    return text.replace(_GENERATED_POOL, _OUR_POOL)


def _import_from_folder(line: re.Match[str]) -> str:
    folder = STUBS[f"{line[1]}.proto"].replace("/", ".")
    return f"from {folder} import {line[1]}_pb2 as {line[2]}"


def main() -> int:
    for proto in STUBS:
        for path, text in stub_texts(proto).items():
            (ROOT / path).write_text(text)
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
