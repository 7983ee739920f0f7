"""From a finished config to the instances to make, and which of them share a process; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserver.core.served_version import InstancePlan, ResourceNeed
from pyserver.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pyserver.config.model_config_pb2 import ModelConfig


def plan_instances(config: ModelConfig) -> list[InstancePlan]:
    """Every instance of the groups, named `<group>_<i>`; per GPU the same names again.

    Passive groups have none: nothing would ever be sent to them.
    """
    plans: list[InstancePlan] = []
    for group in config.instance_group:
        if group.passive:
            continue
        kind = type(group).Kind.Name(group.kind)
        devices = list(group.gpus) if kind == "KIND_GPU" else [0]
        needs = tuple(
            ResourceNeed(one.name, one.count, getattr(one, "global"))
            for one in group.rate_limiter.resources
        )
        for device_id in devices:
            for number in range(group.count):
                plans.append(
                    InstancePlan(
                        f"{group.name}_{number}",
                        kind,
                        device_id,
                        index=len(plans),
                        priority=group.rate_limiter.priority,
                        needs=needs,
                    )
                )
    if not plans:
        raise InvalidArgumentError(
            f"model '{config.name}' has no instance: no instance_group is active"
        )
    return plans


def into_processes(
    plans: list[InstancePlan], *, threads_share_process: bool
) -> list[list[InstancePlan]]:
    """The instances of each process."""
    return [plans] if threads_share_process else [[plan] for plan in plans]
