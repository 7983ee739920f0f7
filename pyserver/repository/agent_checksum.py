"""The repository agent `checksum`: a model's files have to be what its config says they are.

Parameters are `MD5:<path in the model's folder>`, as in Triton, or `SHA256:<path>`, and the digest.
"""

from __future__ import annotations

import hashlib
import hmac
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pyserver.beneath import LeadsOut, path_beneath
from pyserver.errors import InvalidArgumentError

_ALGORITHMS: Final = {"MD5": "md5", "SHA256": "sha256"}


def check_sums(model: str, folder: Path, parameters: Mapping[str, str]) -> None:
    """Raises InvalidArgumentError for the first file that is another or is not there."""
    for key, wanted in sorted(parameters.items()):
        kind, colon, name = key.partition(":")
        algorithm = _ALGORITHMS.get(kind)
        if algorithm is None or not colon:
            raise InvalidArgumentError(
                f"repository agent 'checksum' of model '{model}' has the parameter '{key}'; known"
                f" are {', '.join(f'{one}:<path>' for one in _ALGORITHMS)}"
            )
        found = _digest(model, folder, name, algorithm)
        if not hmac.compare_digest(found, wanted.strip().lower()):
            raise InvalidArgumentError(
                f"Mismatched {kind} hash for file {name} of model '{model}', expect: {wanted},"
                f" got: {found}"
            )


def _digest(model: str, folder: Path, name: str, algorithm: str) -> str:
    what = f"repository agent 'checksum' of model '{model}' cannot read '{name}'"
    try:
        path = path_beneath(folder, name)
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidArgumentError(f"{what}: it is not a regular file")
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except LeadsOut as error:
        raise InvalidArgumentError(f"{what}: it {error}") from error
    except OSError as error:
        raise InvalidArgumentError(f"{what}: {error.strerror or error}") from error
