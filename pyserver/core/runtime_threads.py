"""How many threads the numeric libraries of Python models start: cores over instances.

Each instance of a Python model is a process whose BLAS or torch would take a thread for every core.
OMP_NUM_THREADS is what all of them look at when nothing more special is set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Threads do not survive a fork, so that a template must have none.
ONE_THREAD: Final[Mapping[str, str]] = dict.fromkeys(THREAD_VARIABLES, "1")


def thread_variables(instances: int, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the processes of a model with so many instances get in their environment: nothing for
    one instance, and where the administrator has said something else.
    """
    if instances <= 1 or "OMP_NUM_THREADS" in environment:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // instances))}
