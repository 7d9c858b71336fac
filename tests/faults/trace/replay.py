"""A trace told again as lives: each pod of each instance, why it went, and what came after it.

Nothing here reads a status of ours, but for `announced`: whether a delete had been written down before it was sent is
a promise about the status itself.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from math import inf

from tests.cluster.harness.api import Json
from tests.cluster.harness.trace import (
    INSTANCE_LABEL,
    MODEL_LABEL,
    VERSION_LABEL,
    Seen,
    Trace,
    Write,
    parse_ranges,
    parse_version,
    precondition_uid,
)

Version = tuple[int, ...]
RELABELLED = "tests/relabelled"
"""On a pod whose labels a user changed: the operator may take it for one of another build."""


class Why(Enum):
    """What a deletion by the operator led to."""

    UPGRADE = "upgrade"
    RESTORE = "restore"
    MODEL = "model"
    SAME = "same"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Moment:
    """`order` is etcd's revision, `at` the recorder's clock."""

    order: int
    at: float


@dataclass(slots=True)
class Life:
    """One pod of an instance, from its creation to its end."""

    scale_set: str
    name: str
    instance: int
    uid: str
    owners: tuple[str, ...]
    version: Version
    model: str
    image: str
    began: Moment
    created: float  # server time, whole seconds
    healthy: list[tuple[Moment, Moment | None]] = field(default_factory=list)
    going: Moment | None = None
    gone: Moment | None = None
    ended: bool = False
    relabelled: bool = False
    deletion: Write | None = None
    before: "Life | None" = None
    after: "Life | None" = None

    @property
    def by_operator(self) -> bool:
        return self.deletion is not None

    @property
    def why(self) -> Why:
        """Of a pod that the operator deleted."""
        new = self.after
        if new is None:
            return Why.AWAY
        if new.version != self.version:
            return Why.UPGRADE if new.version > self.version else Why.RESTORE
        if new.image == self.image and new.model == self.model:
            return Why.SAME
        back = self.before is not None and self.before.model == new.model
        return Why.RESTORE if back else Why.MODEL

    def healthy_at(self, moment: Moment) -> bool:
        return any(
            start.order <= moment.order and (end is None or moment.order < end.order) for start, end in self.healthy
        )

    def healthy_for(self, moment: Moment) -> float:
        """Seconds that it had been healthy for at that moment; 0 if it was not."""
        for start, end in self.healthy:
            if start.order <= moment.order and (end is None or moment.order < end.order):
                return moment.at - start.at
        return 0.0

    def unhealthy_for(self, moment: Moment) -> float:
        """Seconds since it was last healthy, or since its creation; 0 if it was healthy."""
        if self.healthy_at(moment):
            return 0.0
        ends = [end.at for _, end in self.healthy if end is not None and end.order <= moment.order]
        return moment.at - max(ends, default=self.began.at)

    def alive(self, moment: Moment) -> bool:
        return self.began.order <= moment.order and (self.going is None or moment.order < self.going.order)


class Timeline:
    """What an object was at any moment."""

    def __init__(self) -> None:
        self._orders: list[int] = []
        self.changes: list[Seen] = []

    def add(self, seen: Seen) -> None:
        self._orders.append(seen.order)
        self.changes.append(seen)

    def at(self, order: float) -> Seen | None:
        index = bisect_right(self._orders, order)
        return self.changes[index - 1] if index and self.changes[index - 1].type != "DELETED" else None

    def all(self) -> list[Seen]:
        """What it was, one after the other; without its end."""
        return [seen for seen in self.changes if seen.type != "DELETED"]

    def object(self, order: float = inf) -> Json:
        seen = self.at(order)
        return seen.object if seen is not None else {}


class Replay:
    """A trace as lives and timelines."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.sets: defaultdict[str, Timeline] = defaultdict(Timeline)
        self.policies: defaultdict[str, Timeline] = defaultdict(Timeline)
        self.images: defaultdict[str, Timeline] = defaultdict(Timeline)
        self.lives: list[Life] = []
        self.by_uid: dict[str, Life] = {}
        deletes = {
            precondition_uid(w): w
            for w in trace.writes
            if w.resource == "pods" and w.verb == "delete" and w.took_effect
        }
        deletes.pop("", None)
        latest: dict[str, Life] = {}
        for seen in trace.of("pods", "scalesets", "upgradepolicies", "galleryimageversions"):
            match seen.kind:
                case "scalesets":
                    self.sets[seen.name].add(seen)
                case "upgradepolicies":
                    self.policies[seen.name].add(seen)
                case "galleryimageversions":
                    self.images[seen.name].add(seen)
                case "pods" if seen.uid in self.by_uid or (seen.scale_set and seen.label(INSTANCE_LABEL)):
                    self._pod(seen, latest, deletes)

    def _pod(self, seen: Seen, latest: dict[str, Life], deletes: dict[str, Write]) -> None:
        now = Moment(seen.order, seen.at)
        life = self.by_uid.get(seen.uid)
        if life is None:
            life = self.by_uid[seen.uid] = _born(seen, now)
            life.deletion = deletes.get(seen.uid)
            life.before = latest.get(seen.name)
            if life.before is not None:
                life.before.after = life
            latest[seen.name] = life
            self.lives.append(life)
        by_state = (self.spec(life.scale_set, seen.order).get("health") or {}).get("source") == "InstanceState"
        well = (seen.running if by_state else seen.ready) and not seen.terminating and seen.type != "DELETED"
        open_span = bool(life.healthy) and life.healthy[-1][1] is None
        if well and not open_span:
            life.healthy.append((now, None))
        elif not well and open_span:
            life.healthy[-1] = (life.healthy[-1][0], now)
        life.relabelled |= bool(seen.label(RELABELLED))
        if life.going is None and (seen.terminating or seen.type == "DELETED"):
            life.going = now
        if seen.type == "DELETED":
            life.gone = now
        elif life.going is None and (seen.object.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
            life.ended = True

    # What users asked for

    def spec(self, scale_set: str, order: float = inf) -> Json:
        found: Json = self.sets[scale_set].object(order).get("spec") or {} if scale_set in self.sets else {}
        return found

    def replicas(self, scale_set: str, order: float = inf) -> int:
        return int(self.spec(scale_set, order).get("replicas", 1))

    def most_replicas(self, scale_set: str, now: Moment, seconds: float) -> int:
        """The largest size that it had so short a time ago, or has now."""
        counts = [
            int(seen.object["spec"].get("replicas", 1))
            for seen in self.sets[scale_set].all()
            if seen.order <= now.order and now.at - seen.at < seconds
        ]
        return max([self.replicas(scale_set, now.order), *counts])

    def policy(self, scale_set: str, order: float = inf) -> Json:
        name = (self.spec(scale_set, order).get("upgradePolicyRef") or {}).get("name", "")
        found: Json = self.policies[name].object(order).get("spec") or {} if name in self.policies else {}
        return found

    def percents(self, scale_set: str, key: str) -> list[int]:
        """Every value that a percentage of its policies ever had: a run goes by the one that it began with."""
        found = {20}
        for name in self._policy_names(scale_set):
            specs = [seen.object["spec"] for seen in self.policies[name].all()]
            found |= {int((spec.get("rollingUpgradePolicy") or {}).get(key, 20)) for spec in specs}
            if specs and all(
                (spec.get("automaticOSUpgradePolicy") or {}).get("useRollingUpgradePolicy", True) for spec in specs
            ):
                found.discard(20)
                found |= {int((spec.get("rollingUpgradePolicy") or {}).get(key, 20)) for spec in specs}
        return sorted(found)

    def policy_specs(self, scale_set: str) -> list[Json]:
        return [seen.object["spec"] for name in self._policy_names(scale_set) for seen in self.policies[name].all()]

    def _policy_names(self, scale_set: str) -> set[str]:
        specs = [seen.object["spec"] for seen in self.sets[scale_set].all()]
        names = {(spec.get("upgradePolicyRef") or {}).get("name", "") for spec in specs}
        return {name for name in names if name in self.policies}

    # Who was there

    def of(self, scale_set: str) -> list[Life]:
        return [life for life in self.lives if life.scale_set == scale_set]

    def moves(self, *why: Why) -> Iterator[tuple[Life, Moment]]:
        """Pods that the operator deleted, and when, in order."""
        taken = [(life, life.going) for life in self.lives if life.by_operator and life.going is not None]
        for life, going in sorted(taken, key=lambda each: each[1].order):
            if life.why in why:
                yield life, going

    def announced(self, life: Life) -> bool:
        """Whether the status named the instance before its pod went."""
        assert life.going is not None
        status = self.sets[life.scale_set].object(life.going.order - 1).get("status") or {}
        rollout = status.get("rollingUpgrade") or {}
        named = [rollout.get("inProgress"), status.get("applying"), (rollout.get("batch") or {}).get("instances")]
        named += [rollout.get("applying"), (rollout.get("batch") or {}).get("replaces")]
        return any(life.instance in parse_ranges(each) for each in named if isinstance(each, str))


def server_time(write: Write) -> float:
    """When the API server got it, in seconds since 1970."""
    return datetime.fromisoformat(write.time).timestamp()


def _born(seen: Seen, now: Moment) -> Life:
    metadata = seen.object["metadata"]
    owners = tuple(each["uid"] for each in metadata.get("ownerReferences") or [] if each.get("controller"))
    return Life(
        scale_set=seen.scale_set,
        name=seen.name,
        instance=int(seen.label(INSTANCE_LABEL)),
        uid=seen.uid,
        owners=owners,
        version=parse_version(seen.label(VERSION_LABEL)),
        model=seen.label(MODEL_LABEL),
        image=str(seen.object["spec"]["containers"][0]["image"]),
        began=now,
        created=datetime.fromisoformat(metadata["creationTimestamp"]).timestamp(),
    )
