"""The health gates (docs/behaviour.md, Rolling upgrade).

Before every batch: more than `maxUnhealthyInstancePercent` of the whole set unhealthy closes the gate. After every
batch: more than `maxUnhealthyUpgradedInstancePercent` of the instances upgraded so far unhealthy ends the rollout. Both
are "more than", in integers: exactly 20 % passes. Instances that are still starting count in neither gate; the rollout
waits for them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from scaleset.planner.instances import Instance


@dataclass(frozen=True, slots=True)
class Gate:
    """Health of a set as the gate before a batch counts it."""

    unhealthy: tuple[int, ...]
    replicas: int
    percent: int

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
    unhealthy = (
        each.id
        for each in instances
        if each.bad or (healthy_for and each.healthy and now < healthy_since.get(each.id, now) + healthy_for)
    )
    return Gate(tuple(unhealthy), replicas, percent)


def after_batch(*, upgraded: Collection[int], bad: Collection[int], percent: int) -> bool:
    """Whether the run must end: too many of the upgraded instances are unhealthy."""
    return exceeds(len(bad), len(upgraded), percent)
