"""Which instances go into the next batch (docs/behaviour.md, Rolling upgrade).

A batch holds at most floor(N * maxBatchInstancePercent / 100) instances, at least one. It shrinks when instances
outside it are unhealthy already, so that the two together stay within maxUnhealthyInstancePercent. An instance that is
unhealthy already takes none of that room: a broken instance never blocks its own fix. Invariant: len(batch) <=
batch_limit(N).

Order: unhealthy first where they are to go first, then zone, then update domain, then id, each from the lowest, or from
the highest where the set descends. A batch never mixes zones, unless the policy allows it, and never mixes update
domains of a Service Fabric set, or models in a restart. Instances whose pod cannot be replaced now go last, in batches
of their own, so that they do not delay the others.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from scaleset.api.upgrade_policy import RollingUpgradePolicy
from scaleset.planner.instances import Instance


@dataclass(frozen=True, slots=True)
class Rules:
    """How batches are put together."""

    replicas: int
    policy: RollingUpgradePolicy
    unhealthy_first: bool = False
    by_update_domain: bool = False
    by_model: bool = False
    """Whether a batch holds instances of one model only: in a restart each keeps its own."""
    descending: bool = False
    """Whether the highest zone, update domain and id go first."""
    first: frozenset[int] = frozenset()
    """Instances that go first while they are unhealthy because of the version they run. The others keep their order."""

    @property
    def limit(self) -> int:
        """Largest batch."""
        return batch_limit(self.replicas, self.policy.max_batch_instance_percent)

    @property
    def usual(self) -> int:
        """Size of a batch when nothing is unhealthy."""
        return min(self.limit, max(1, self.replicas * self.policy.max_unhealthy_instance_percent // 100))

    def goes_first(self, instance: Instance) -> bool:
        """Whether the instance is unhealthy and goes before the healthy instances."""
        return instance.bad and (self.unhealthy_first or instance.id in self.first)

    def turn(self, instance: Instance) -> tuple[bool, int, int, int]:
        """Sort key: the smallest goes first."""
        sign = -1 if self.descending else 1
        zone, domain = instance.place.zone, instance.place.update_domain
        return not self.goes_first(instance), sign * zone, sign * domain, sign * instance.id

    def group(self, instance: Instance) -> tuple[int, int, str]:
        """The group of an instance. A batch takes instances of one group only."""
        zone = -1 if self.policy.enable_cross_zone_upgrade else instance.place.zone
        domain = instance.place.update_domain if self.by_update_domain else -1
        return zone, domain, instance.build.model if self.by_model and instance.build is not None else ""


def batch_limit(replicas: int, percent: int) -> int:
    """Largest batch for a set of that size."""
    return max(1, replicas * percent // 100)


def next_batch(candidates: Sequence[Instance], *, unhealthy: Collection[int], rules: Rules) -> tuple[int, ...]:
    """Ids of the next batch. `unhealthy` are all unhealthy instances of the set, candidates or not."""
    chosen = _first_group(candidates, rules)[: rules.limit]
    broken = [instance.id for instance in chosen if instance.bad]
    outside = len(set(unhealthy).difference(broken))
    room = max(1, rules.replicas * rules.policy.max_unhealthy_instance_percent // 100 - outside)
    working = [instance.id for instance in chosen if not instance.bad][:room]
    return tuple(sorted(broken + working))


def only_broken(candidates: Sequence[Instance], *, rules: Rules) -> tuple[int, ...]:
    """A batch of unhealthy instances only. It cannot make the set worse, so it passes a closed gate."""
    return together([instance for instance in candidates if instance.bad], rules=rules)


def together(candidates: Sequence[Instance], *, rules: Rules) -> tuple[int, ...]:
    """The first candidates that may be in one batch, up to its usual size, regardless of health."""
    return tuple(sorted(instance.id for instance in _first_group(candidates, rules)[: rules.limit]))


def batches_left(pending: Sequence[Instance], *, rules: Rules) -> int:
    """How many batches the pending instances take when all goes well."""
    groups = Counter(rules.group(instance) for instance in pending)
    return sum(-(-size // rules.usual) for size in groups.values())


def _first_group(candidates: Sequence[Instance], rules: Rules) -> list[Instance]:
    """The candidates that may be in one batch with the first of them, in order."""
    free = [instance for instance in candidates if not instance.held] or candidates
    ordered = sorted(free, key=rules.turn)
    return [instance for instance in ordered if rules.group(instance) == rules.group(ordered[0])]
