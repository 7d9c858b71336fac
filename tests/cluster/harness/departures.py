"""Who left with a smaller set, and the invariant S1 of scaling in: at most a batch goes at the same time."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

from .api import Json
from .trace import Seen, Trace, parse_duration, parse_ranges

# What the operator does now may be what a set asked for so many seconds ago.
LAG = 1.0
GRACE = 30.0
"""Seconds that a pod has to end unless it says otherwise."""


def policy_of(seen: Seen) -> str:
    """The name of a set's policy; a policy of its own is called like no other can be."""
    spec = seen.object["spec"]
    own = f"of {seen.name}" if "upgradePolicy" in spec else ""
    return own or (spec.get("upgradePolicyRef") or {}).get("name", "")


class Policies:
    """Every value that a policy had during the test: a rollout goes by the one that it started with."""

    def __init__(self) -> None:
        self.percents: defaultdict[str, set[int]] = defaultdict(set)
        self.timeouts: defaultdict[str, set[float]] = defaultdict(set)

    def learn(self, seen: Seen) -> None:
        """What a policy says, or a set with a policy of its own."""
        spec = seen.object["spec"]
        if seen.kind == "scalesets":
            if "upgradePolicy" in spec:
                self._learn(policy_of(seen), spec["upgradePolicy"])
        else:
            self._learn(seen.name, spec)

    def _learn(self, name: str, spec: Json) -> None:
        rolling = spec.get("rollingUpgradePolicy") or {}
        self.percents[name].add(rolling.get("maxBatchInstancePercent", 20))
        if (spec.get("automaticOSUpgradePolicy") or {}).get("useRollingUpgradePolicy") is False:
            self.percents[name].add(20)
        self.timeouts[name].add(parse_duration(spec.get("healthTimeout", "PT5M")))

    def percent(self, policy: str) -> int:
        return max(self.percents[policy], default=20)

    def health_timeout(self, policy: str) -> float:
        return min(self.timeouts[policy], default=300.0)


class Departures:
    """The pods of one set whose instances left because it shrank while they lived: no pod of their name came after
    them, or only when it had become larger again. How many there are when they go does not tell: some may be missing
    that others deleted.
    """

    def __init__(self) -> None:
        self._sizes = [(-inf, 0)]
        self._largest: dict[str, int] = {}
        self._living: set[str] = set()
        self._smallest: dict[str, tuple[str, int]] = {}
        self._left: set[str] = set()

    @property
    def uids(self) -> set[str]:
        return self._left | {uid for uid, _ in self._smallest.values()}

    def resized(self, seen: Seen) -> None:
        size = seen.object["spec"].get("replicas", 1)
        if size == self._sizes[-1][1]:
            return
        self._sizes.append((seen.at, size))
        self._largest.update({uid: max(self._largest[uid], size) for uid in self._living})
        self._smallest = {name: (uid, min(least, size)) for name, (uid, least) in self._smallest.items()}

    def saw(self, seen: Seen) -> None:
        if seen.terminating or seen.type == "DELETED":
            self._goes(seen)
        elif seen.uid not in self._largest:
            self._comes(seen)

    def _comes(self, seen: Seen) -> None:
        size = self._sizes[-1][1]
        self._largest[seen.uid] = size
        self._living.add(seen.uid)
        before, least = self._smallest.pop(seen.name, ("", size))
        if least < size:
            self._left.add(before)

    def _goes(self, seen: Seen) -> None:
        if seen.uid not in self._living:
            return
        self._living.remove(seen.uid)
        least = min(size for at, size in self._sizes if seen.at - at < LAG or (at, size) == self._sizes[-1])
        if least < self._largest[seen.uid]:
            self._smallest[seen.name] = seen.uid, least


def scaled_in(trace: Trace) -> frozenset[str]:
    """The uids of pods whose instances left with a smaller set."""
    sets: defaultdict[str, Departures] = defaultdict(Departures)
    for seen in trace.of("pods", "scalesets"):
        if seen.kind == "scalesets":
            sets[seen.name].resized(seen)
        elif seen.scale_set:
            sets[seen.scale_set].saw(seen)
    return frozenset().union(*(each.uids for each in sets.values()))


@dataclass(slots=True)
class _Shrinking:
    """One set, as replayed so far."""

    policy: str = ""
    largest: int = 0
    most: set[int | str] = field(default_factory=set)
    """Every `maxConcurrent` that it had."""
    surging: set[str] = field(default_factory=set)
    """Pods of batches with surge: their instances leave in pairs, or by themselves."""
    going: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Pods that the operator deletes because the set is to be smaller, by uid: their names, and when they began."""

    def resized(self, seen: Seen) -> None:
        spec, batch = seen.object["spec"], ((seen.object.get("status") or {}).get("rollingUpgrade") or {}).get("batch")
        self.policy = policy_of(seen)
        self.largest = max(self.largest, spec.get("replicas", 1))
        most = (spec.get("scaleInPolicy") or {}).get("maxConcurrent")
        self.most |= set() if most is None else {most}
        for part in ("surge", "replaces"):
            ids = parse_ranges((batch or {}).get(part))
            self.surging |= {f"{seen.name}-{number}" for number in ids}

    def limit(self, percent: int) -> int:
        shares = [percent, *(int(most[:-1]) for most in self.most if isinstance(most, str))]
        return max(
            [
                1,
                *(self.largest * share // 100 for share in shares),
                *(most for most in self.most if isinstance(most, int)),
            ]
        )


def s1_scaling_in(trace: Trace) -> Iterator[str]:
    """Scaling in never has more than a batch terminating: a part of the largest size that the set had, or what it asks
    for. A pod that does not end counts until the health timeout after its grace period.
    """
    sets: defaultdict[str, _Shrinking] = defaultdict(_Shrinking)
    policies = Policies()
    mine = trace.deleted_by_operator() & scaled_in(trace)
    for seen in trace.of("pods", "scalesets", "upgradepolicies"):
        if seen.kind == "upgradepolicies":
            policies.learn(seen)
        elif seen.kind == "scalesets":
            policies.learn(seen)
            sets[seen.name].resized(seen)
        elif seen.scale_set and seen.uid in mine:
            shrinking = sets[seen.scale_set]
            if seen.type == "DELETED":
                shrinking.going.pop(seen.uid, None)
            elif seen.terminating and seen.name not in shrinking.surging | trace.disturbed:
                shrinking.going.setdefault(seen.uid, (seen.name, seen.at))
            patience = GRACE + policies.health_timeout(shrinking.policy)
            together = sorted(name for name, since in shrinking.going.values() if seen.at - since < patience)
            limit = shrinking.limit(policies.percent(shrinking.policy))
            if len(together) > limit:
                yield f"{seen.scale_set}: {together} go together when it is scaled in, the limit is {limit}"
                return
