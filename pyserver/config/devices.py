"""Which GPUs this machine has, without any CUDA library."""

from __future__ import annotations

import os
import re
from pathlib import Path


def gpu_count(dev: Path = Path("/dev")) -> int:
    """NVIDIA's device files that this process may use; CUDA_VISIBLE_DEVICES narrows them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        return len([name for name in names if name and name != "-1"])
    try:
        return sum(bool(re.fullmatch(r"nvidia\d+", entry.name)) for entry in dev.iterdir())
    except OSError:
        return 0
