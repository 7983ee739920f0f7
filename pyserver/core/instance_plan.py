"""From a finished config to the instances to make, and which of them share a process; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyserver.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pyserver.config.model_config_pb2 import ModelConfig


@dataclass(frozen=True, slots=True)
class ResourceNeed:
    """How much an instance needs of a resource of its device, or of a global one, to execute."""

    name: str
    count: int
    is_global: bool


@dataclass(frozen=True, slots=True)
class InstancePlan:
    """One instance to be made: what the backend is told of it, and what it needs of the rate
    limiter. `index` counts in the version.
    """

    name: str
    kind: str
    device_id: int
    index: int
    priority: int = 0
    needs: tuple[ResourceNeed, ...] = ()

    def as_message(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "device_id": self.device_id,
            "index": self.index,
        }

    def as_limits(self) -> dict[str, Any]:
        """What `Engine.add_model` is told of it."""
        return {
            "priority": self.priority,
            "device": self.device_id,
            "resources": [
                {"name": need.name, "count": need.count, "global": need.is_global}
                for need in self.needs
            ],
        }


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


def count_instances(config: ModelConfig) -> int:
    """Those of active groups; also of a config that is not finished."""
    groups = [group for group in config.instance_group if not group.passive]
    return sum(max(1, group.count) * max(1, len(group.gpus)) for group in groups)


def wants_fork(config: ModelConfig) -> bool:
    """The parameter `fork_instances`. Raises InvalidArgumentError for what is neither true nor
    false.
    """
    if "fork_instances" not in config.parameters:
        return False
    text = config.parameters["fork_instances"].string_value
    if text.lower() not in ("true", "false"):
        raise InvalidArgumentError(
            f"parameter 'fork_instances' of model '{config.name}' must be 'true' or 'false', got"
            f" '{text}'"
        )
    return text.lower() == "true"


def into_processes(
    plans: list[InstancePlan], *, threads_share_process: bool
) -> list[list[InstancePlan]]:
    """The instances of each process."""
    return [plans] if threads_share_process else [[plan] for plan in plans]
