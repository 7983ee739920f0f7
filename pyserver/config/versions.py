"""Which versions of a model exist in its directory, and which of them its version policy serves."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from pyserver.config.model_config_pb2 import ModelVersionPolicy

_LOG = logging.getLogger(__name__)
_LARGEST = 2**63 - 1


def version_of(name: str) -> int | None:
    """The version that a directory of this name holds: a decimal number without leading zeros, else
    None."""
    if not name.isascii() or not name.isdigit() or (name[0] == "0" and name != "0"):
        return None
    number = int(name) if len(name) <= 19 else _LARGEST + 1
    return number if number <= _LARGEST else None


def list_versions(model_dir: Path) -> list[int]:
    """The versions below a model's directory, ascending."""
    numbers = (version_of(entry.name) for entry in model_dir.iterdir() if entry.is_dir())
    return sorted(number for number in numbers if number is not None)


def select_versions(
    policy: ModelVersionPolicy, existing: Iterable[int], *, model_name: str
) -> list[int]:
    """The versions that `policy` serves out of the existing ones, ascending; maybe none.

    A policy without a choice serves all. A version that is asked for by number and missing is
    logged and left out.
    """
    available = sorted(set(existing))
    if policy.WhichOneof("policy_choice") == "specific":
        for version in sorted(set(policy.specific.versions) - set(available)):
            _LOG.error(
                "version %d is specified for model '%s', but the version directory is not present",
                version,
                model_name,
            )
    return served_of(policy, available)


def served_of(policy: ModelVersionPolicy, available: list[int]) -> list[int]:
    """Which of the versions, ascending, the policy serves."""
    choice = policy.WhichOneof("policy_choice")
    if choice == "latest":
        count = policy.latest.num_versions
        return available[-count:] if count else []
    if choice == "specific":
        return [version for version in available if version in set(policy.specific.versions)]
    return available
