"""The health gates (docs/behaviour.md, Rolling upgrade).

Before every batch: more than `maxUnhealthyInstancePercent` of the whole set unhealthy closes the gate. After every
batch: more than `maxUnhealthyUpgradedInstancePercent` of the instances upgraded so far unhealthy ends the rollout. Both
are "more than", in integers: exactly 20 % passes. Instances that are still starting count in neither gate; the rollout
waits for them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from scaleset.planner.instances import HealthState, Instance


@dataclass(frozen=True, slots=True)
class Gate:
    """Health of a set as the gate before a batch counts it."""

    unhealthy: tuple[int, ...]
    initializing: tuple[int, ...]
    replicas: int
    percent: int
    settles_at: float | None = None
    """When the last healthy instance will have been healthy for the time asked for."""

    @property
    def open(self) -> bool:
        return not exceeds(len(self.unhealthy), self.replicas, self.percent)

    def describe(self) -> str:
        return (
            f"{share(len(self.unhealthy), self.replicas)}% of instances are in an unhealthy state - "
            f"{'more' if not self.open else 'not more'} than the threshold of {self.percent}%"
        )


def exceeds(part: int, whole: int, percent: int) -> bool:
    """Whether `part` is more than `percent` of `whole`."""
    return part * 100 > percent * whole


def share(part: int, whole: int) -> int:
    """Whole percents, rounded up so that a breach never looks equal to the limit."""
    return -(-part * 100 // whole) if whole else 0


def before_batch(
    instances: Iterable[Instance],
    *,
    replicas: int,
    percent: int,
    healthy_since: dict[int, float],
    now: float,
    healthy_for: float = 0.0,
) -> Gate:
    """The gate over those instances; `healthy_for` asks that each has been healthy for so many seconds (a retry)."""
    unhealthy: list[int] = []
    initializing: list[int] = []
    settles: float | None = None
    for instance in instances:
        if instance.bad:
            unhealthy.append(instance.id)
        elif instance.health is HealthState.INITIALIZING:
            initializing.append(instance.id)
        elif healthy_for and now < (settled := healthy_since.get(instance.id, now) + healthy_for):
            unhealthy.append(instance.id)
            settles = max(settles or settled, settled)
    return Gate(tuple(unhealthy), tuple(initializing), replicas, percent, settles)


def after_batch(*, upgraded: Collection[int], bad: Collection[int], percent: int) -> bool:
    """Whether the run must end: too many of the upgraded instances are unhealthy."""
    return exceeds(len(bad), len(upgraded), percent)
