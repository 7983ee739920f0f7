"""A process's place among those of a version, which outlives the process."""

from __future__ import annotations

from collections.abc import Sequence

from pyserver.core.backoff import RestartPolicy
from pyserver.core.instance_plan import InstancePlan
from pyserver.core.instance_process import InstanceProcess


class ProcessSlot:
    """The instances that live in it, and the process that is there now."""

    def __init__(self, instances: Sequence[InstancePlan]) -> None:
        self.instances = tuple(instances)
        self.process: InstanceProcess | None = None
        self.peers: list[int] = []
        self.joined = False
        self.filling = False  # whoever fills it deals with the process's death
        self.warming = False
        self.verdict = ""  # why we killed the process ourselves
        self.restarts = RestartPolicy()
        self.restart_count = 0
        self.last_end = ""

    @property
    def name(self) -> str:
        names = [instance.name for instance in self.instances]
        return names[0] if len(names) == 1 else f"{names[0]}..{names[-1]}"
