"""What is told at the start of the models and their memory."""

from __future__ import annotations

import os
from typing import Any

from pyserver.core.model_loader import ModelLoader
from pyserver.core.running_versions import RunningVersions
from pyserver.observe.memory import proportional_byte_size, resident_byte_size
from pyserver.repository.lifecycle import State
from pyserver.repository.registry import DUPLICATED, IndexEntry, Registry


def start_summary(registry: Registry, loader: ModelLoader, duplicates: list[str]) -> dict[str, Any]:
    """What is loaded, what is not and why, and memory."""
    instances = {
        (served.name, served.version): len(served.instances()) for served in loader.running.values()
    }
    lines = [IndexEntry(one.name, one.version, one.state, one.reason) for one in registry]
    lines += [
        IndexEntry(name, None, State.UNAVAILABLE, f"Not loaded: {reason}")
        for name, reason in loader.never_loaded().items()
    ]
    lines += [IndexEntry(name, None, State.UNAVAILABLE, DUPLICATED) for name in duplicates]
    return {
        "models": [
            {
                "name": line.name,
                "version": line.version,
                "state": line.state,
                "reason": line.reason,
                "instances": instances.get((line.name, line.version or 0), 0),
            }
            for line in sorted(lines, key=lambda line: (line.name, line.version or 0))
        ],
        "memory": _memory(loader.running),
    }


def _memory(running: RunningVersions) -> dict[str, int]:
    """What our processes have resident."""
    pids = [one["pid"] for one in running.processes()]
    return {
        "core": resident_byte_size(os.getpid()),
        "instances": sum(proportional_byte_size(pid) for pid in pids),
    }
