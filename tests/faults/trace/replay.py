"""A trace told again as lives: each pod of each instance, why it went, and what came after it.

Nothing here reads a status of ours, but for `announced`: whether a delete had been written down before it was sent is
a promise about the status itself.
"""

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from math import inf
from typing import NamedTuple

from tests.cluster.harness.api import Json
from tests.cluster.harness.trace import (
    INSTANCE_LABEL,
    MODEL_LABEL,
    RELABELLED,
    VERSION_LABEL,
    Seen,
    Trace,
    Write,
    parse_ranges,
    parse_version,
    precondition_uid,
)

from .changes import Changes, changes

Version = tuple[int, ...]


class Why(Enum):
    """What it led to that the operator took a pod."""

    UPGRADE = "upgrade"
    RESTORE = "restore"
    MODEL = "model"
    RESTART = "restart"
    SAME = "same"
    AWAY = "away"


class Moment(NamedTuple):
    """`order` is etcd's revision, `at` the recorder's clock."""

    order: int
    at: float


@dataclass(slots=True)
class Life:
    """One pod of an instance, from its creation to its end. A pod that the operator changes in place has two lives: one
    ends with the change, the other one begins with it.
    """

    scale_set: str
    name: str
    instance: int
    uid: str
    owners: tuple[str, ...]
    version: Version
    model: str
    image: str
    shape: str
    """All that its model says of it, but for the image."""
    restart: str
    """The time of the restart that made it; empty without one."""
    began: Moment
    created: float  # server time; of a creation in whole seconds
    healthy: list[tuple[Moment, Moment | None]] = field(default_factory=list)
    going: Moment | None = None
    gone: Moment | None = None
    ended: bool = False
    relabelled: bool = False
    """Whether others changed its labels: the operator may take it for one of another build."""
    taken: Write | None = None
    """The operator's DELETE, or the PATCH that gave its pod another build."""
    images: dict[str, str] = field(default_factory=dict)
    """Of the containers that were seen in its pod, by their ids."""
    left: bool = False
    """Whether the set had no room for its instance meanwhile: what comes after it is a new instance."""
    before: "Life | None" = None
    after: "Life | None" = None

    @property
    def by_operator(self) -> bool:
        return self.taken is not None

    @property
    def in_place(self) -> bool:
        """Whether its pod lives on with another build."""
        return self.taken is not None and self.taken.verb == "patch"

    @property
    def why(self) -> Why:
        """Of a pod that the operator took."""
        new = self.after
        if new is None or self.left:
            return Why.AWAY
        if new.version != self.version:
            return Why.UPGRADE if new.version > self.version else Why.RESTORE
        if new.image == self.image and new.model == self.model:
            return Why.SAME if new.restart in ("", self.restart) else Why.RESTART
        old = self.before
        back = old is not None and (old.version, old.model) == (new.version, new.model) and old.why is not Why.RESTORE
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

    def was_healthy(self, moment: Moment) -> bool:
        """Whether it ever was until then."""
        return any(start.order < moment.order for start, _ in self.healthy)

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

    def __init__(self, trace: Trace, changed: Changes | None = None, *, slack: float = 0.0) -> None:
        self.trace = trace
        self._changed = changes(trace) if changed is None else changed
        self._slack = slack
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
        change = self._changed.get((seen.uid, seen.order))
        if life is None or change is not None:
            new = _born(seen, now)
            if life is not None and change is not None:
                _turn(life, new, change)
            new.taken = deletes.get(seen.uid)
            new.before = latest.get(seen.name)
            if new.before is not None:
                new.before.after = new
                new.before.left = change is None and self._had_no_room(new.before, now)
            self.lives.append(new)
            life = latest[seen.name] = self.by_uid[seen.uid] = new
        by_state = (self.spec(life.scale_set, seen.order).get("health") or {}).get("source") == "InstanceState"
        well = (seen.running if by_state else seen.ready) and not seen.terminating and seen.type != "DELETED"
        well &= _runs_its_image(life, seen)
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

    def _had_no_room(self, life: Life, until: Moment) -> bool:
        """Whether the set was smaller when the pod went than when the next one came, or right before: what is created
        may be what was asked for a moment ago.
        """
        if life.going is None:
            return False
        since = Moment(life.going.order, life.going.at - self._slack)
        size = self.most_replicas(life.scale_set, until, self._slack)
        return min(self._sizes(life.scale_set, since, until), default=size) < size

    def _sizes(self, scale_set: str, since: Moment, until: Moment) -> list[int]:
        """The sizes that it had from then to then, by order or by the clock, and the one right before."""
        sizes: list[int] = []
        for seen in self.sets[scale_set].all() if scale_set in self.sets else ():
            if seen.order > until.order:
                break
            size = int(seen.object["spec"].get("replicas", 1))
            sizes = [*sizes, size] if seen.order > since.order or seen.at > since.at else [size]
        return sizes

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
        """Pods that the operator took for these reasons, or for any, and when, in order."""
        taken = [(life, life.going) for life in self.lives if life.by_operator and life.going is not None]
        for life, going in sorted(taken, key=lambda each: each[1].order):
            if not why or life.why in why:
                yield life, going

    def announced(self, life: Life) -> bool:
        """Whether the status named the instance before its pod was taken.

        The watch has a hole where the API server was away: what was written between its return and the recorder's list.
        The audit log tells of it.
        """
        assert life.going is not None
        status = self.sets[life.scale_set].object(life.going.order - 1).get("status") or {}
        return _names(status, life.instance) or any(_names(each, life.instance) for each in self._unseen(life))

    def _unseen(self, life: Life) -> Iterator[Json]:
        """What the operator wrote into the status after the one that was seen last, and before it took that pod."""
        assert life.going is not None
        seen = self.sets[life.scale_set].at(life.going.order - 1)
        if seen is None or life.taken is None:
            return
        for write in self.trace.writes:
            if (write.resource, write.subresource, write.name) != ("scalesets", "status", life.scale_set):
                continue
            if not write.took_effect:
                continue
            based_on = int((write.body.get("metadata") or {}).get("resourceVersion") or 0)
            if based_on >= seen.order and write.answered <= life.taken.time:
                yield write.body.get("status") or {}


def _names(status: Json, instance: int) -> bool:
    rollout = status.get("rollingUpgrade") or {}
    named = [rollout.get("inProgress"), status.get("applying"), (rollout.get("batch") or {}).get("instances")]
    named += [rollout.get("applying"), (rollout.get("batch") or {}).get("replaces")]
    return any(instance in parse_ranges(each) for each in named if isinstance(each, str))


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
        image=seen.image,
        shape=_shape(seen.object),
        restart=(metadata.get("annotations") or {}).get("scaleset.dev/restarted-at", ""),
        began=now,
        created=datetime.fromisoformat(metadata["creationTimestamp"]).timestamp(),
    )


def _turn(old: Life, new: Life, change: Write) -> None:
    """The pod of one life goes on as that of the next one."""
    if old.going is None:
        old.going, old.taken = new.began, change
    if old.healthy and old.healthy[-1][1] is None:
        old.healthy[-1] = (old.healthy[-1][0], new.began)
    old.gone = new.began
    new.images, new.created = old.images, server_time(change)


def _runs_its_image(life: Life, seen: Seen) -> bool:
    """Whether the container that the status tells of was started with the image that the pod has now. That of a change
    in place has another id than the one before; nothing else in a status tells them apart.
    """
    name = seen.object["spec"]["containers"][0]["name"]
    statuses = (seen.object.get("status") or {}).get("containerStatuses") or []
    identity = next((each.get("containerID") or "" for each in statuses if each["name"] == name), "")
    if identity:
        life.images.setdefault(identity, life.image)
    return life.images.get(identity, life.image) == life.image


def _shape(pod: Json) -> str:
    """Annotations and containers of a pod, without what is its instance's own, or the tests', and without images."""
    notes = pod["metadata"].get("annotations") or {}
    containers = [
        {key: container.get(key) for key in ("name", "command", "args", "resources", "ports", "readinessProbe")}
        for container in pod["spec"]["containers"]
    ]
    known = {key: value for key, value in notes.items() if not key.startswith(("scaleset.dev/", "tests/"))}
    return json.dumps([known, containers], sort_keys=True)
