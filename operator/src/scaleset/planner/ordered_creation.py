"""Instances that are created one after the other: `podManagementPolicy: OrderedReady` (docs/behaviour.md, Instances).

An instance that does not exist yet is created once all instances with a lower id are healthy. Until then it is queued:
neither healthy nor unhealthy, so it closes no gate, and no rollout waits for it. So a broken instance holds the
creation of others and never its own fix, unlike in a StatefulSet. An instance that is recorded, and lost its pod, is
created at once: its disks exist, and the others know it.
"""

from collections.abc import Mapping
from dataclasses import replace

from scaleset.planner.instances import HealthState, Instance


def queued(judged: Mapping[int, Instance]) -> Mapping[int, Instance]:
    """The instances, those that have to wait with the one that they wait for."""
    first = min((number for number, instance in judged.items() if not instance.healthy), default=None)
    if first is None:
        return judged
    return {number: _behind(instance, first) if number > first else instance for number, instance in judged.items()}


def _behind(instance: Instance, first: int) -> Instance:
    if instance.pod is not None or instance.build is not None:
        return instance
    text = f"Created once instance {first} is healthy: podManagementPolicy is OrderedReady."
    return replace(instance, health=HealthState.INITIALIZING, message=text, queued_behind=first)
