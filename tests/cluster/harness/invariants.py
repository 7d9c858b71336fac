"""The invariants S1, S3 to S6 and S8, on the pods and claims that a recorder saw: a sentence for each violation.

They look at pods and claims, not at what the operator says about itself; `status_invariants` checks that.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf

from .api import Json
from .departures import Policies, policy_of, s1_scaling_in, scaled_in
from .trace import INSTANCE_LABEL, VERSION_LABEL, Seen, Trace, parse_ranges, parse_version

# The API server keeps whole seconds of a creation, so a health timeout may end up to one second early by our clock.
TIMEOUT_SLACK = 1.5


@dataclass(slots=True)
class _Replacement:
    """An instance that the operator took away and that has not proven itself yet."""

    deleted_uid: str
    """Empty when its image was changed in place."""
    replicas: int
    created_at: float | None = None


@dataclass(slots=True)
class _Fleet:
    """One set, as replayed so far."""

    replicas: int = 0
    policy: str = ""
    health: Json = field(default_factory=dict)
    present: dict[str, str] = field(default_factory=dict)
    terminating: set[str] = field(default_factory=set)
    replacing: dict[str, _Replacement] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)

    def limit(self, percent: int) -> int:
        replicas = max([self.replicas, *(each.replicas for each in self.replacing.values())])
        return max(1, replicas * percent // 100)


def s1_batch_limit(trace: Trace) -> Iterator[str]:
    """At most max(1, N·batch/100) instances of a set are being replaced, verified or restored at any time.

    An instance counts from the moment at which a pod that the operator deleted is terminating, or its image is changed
    in place, until it is healthy again or has used up its health timeout. Taking an instance away for good (scaling
    in) does not count.
    """
    fleets: defaultdict[str, _Fleet] = defaultdict(_Fleet)
    policies = Policies()
    deleted, changed, former_pods = trace.deleted_by_operator(), trace.changed_in_place(), scaled_in(trace)
    for seen in trace.of("pods", "scalesets", "upgradepolicies"):
        if seen.kind == "upgradepolicies":
            policies.learn(seen)
        elif seen.kind == "scalesets":
            policies.learn(seen)
            fleets[seen.name].replicas = seen.object["spec"].get("replicas", 1)
            fleets[seen.name].policy = policy_of(seen)
            fleets[seen.name].health = seen.object["spec"].get("health") or {}
        elif seen.scale_set:
            fleet = fleets[seen.scale_set]
            timeout = policies.health_timeout(fleet.policy) - TIMEOUT_SLACK
            _expire(fleet, seen.at, timeout)
            if (seen.uid, seen.order) in changed and seen.name not in trace.disturbed:
                fleet.replacing[seen.name] = _Replacement("", fleet.replicas, seen.at)
            _follow(fleet, seen, deleted, former_pods)
            limit = fleet.limit(policies.percent(fleet.policy))
            if len(fleet.replacing) > limit:
                yield f"{seen.scale_set}: {sorted(fleet.replacing)} are being replaced at once, the limit is {limit}"
                return


def s1_surge(trace: Trace) -> Iterator[str]:
    """A set with maxSurge never has fewer ready instances by our doing than it had when the rollout began.

    Whatever stops being ready by itself lowers the bar; so does an instance that is taken away in place, which a
    batch says of itself, and scaling in.
    """
    sets: dict[str, Json] = {}
    ready: defaultdict[str, set[str]] = defaultdict(set)
    bars: dict[str, tuple[str, int]] = {}
    deleted = trace.deleted_by_operator()
    for seen in trace.of("pods", "scalesets"):
        if seen.kind == "scalesets":
            sets[seen.name] = seen.object
            rollout = _rollout(seen.object)
            if not rollout or rollout["runningStatus"]["code"] != "RollingForward" or not _surges(rollout):
                bars.pop(seen.name, None)
            elif bars.get(seen.name, ("", 0))[0] != rollout["id"]:
                bars[seen.name] = rollout["id"], len(ready[seen.name])
            continue
        fleet = ready[seen.scale_set]
        was_ready = seen.uid in fleet
        if seen.ready and not seen.terminating and seen.type != "DELETED":
            fleet.add(seen.uid)
            continue
        fleet.discard(seen.uid)
        if seen.scale_set not in bars or not was_ready:
            continue
        run, bar = bars[seen.scale_set]
        by_itself = seen.uid not in deleted or not (seen.terminating or seen.type == "DELETED")
        if by_itself or _in_place(sets[seen.scale_set], seen):
            bars[seen.scale_set] = run, min(bar, len(fleet))
        elif len(fleet) < min(bar, sets[seen.scale_set]["spec"].get("replicas", 1)):
            yield f"{seen.name} was deleted, which left {len(fleet)} ready instances of {seen.scale_set}, before {bar}"


def _surges(rollout: Json) -> bool:
    return bool((rollout.get("policy") or {}).get("maxSurge"))


def _successors(scale_set: Json) -> Iterator[tuple[str, str]]:
    """The names of new instances of a batch with surge, each with that of the old one that it is to replace: what that
    ran is what it goes back to.
    """
    batch = (_rollout(scale_set) or {}).get("batch") or {}
    new, old = (sorted(parse_ranges(batch.get(part))) for part in ("surge", "replaces"))
    name = scale_set["metadata"]["name"]
    yield from ((f"{name}-{after}", f"{name}-{before}") for after, before in zip(new, old, strict=False))


def _in_place(scale_set: Json, seen: Seen) -> bool:
    batch = (_rollout(scale_set) or {}).get("batch") or {}
    return int(seen.label(INSTANCE_LABEL)) in parse_ranges(batch.get("instances")) - parse_ranges(batch.get("surge"))


def _expire(fleet: _Fleet, now: float, timeout: float) -> None:
    for name, replacement in list(fleet.replacing.items()):
        if replacement.created_at is not None:
            over = now - replacement.created_at > timeout
        else:  # it left with a smaller set, if that has all its pods without it
            over = name not in fleet.present and len(fleet.present) >= fleet.replicas
        if over:
            del fleet.replacing[name]


def _follow(fleet: _Fleet, seen: Seen, deleted: frozenset[str], scaled_in: frozenset[str]) -> None:
    if (seen.terminating or seen.type == "DELETED") and seen.uid not in fleet.terminating:
        fleet.terminating.add(seen.uid)
        if seen.uid in deleted:
            instances = (fleet.present.keys() | fleet.replacing.keys()) - fleet.leaving
            if seen.uid in scaled_in or len(instances) > fleet.replicas:
                fleet.leaving.add(seen.name)
                fleet.replacing.pop(seen.name, None)
            else:
                fleet.replacing[seen.name] = _Replacement(seen.uid, fleet.replicas)
    if seen.type == "DELETED":
        fleet.present.pop(seen.name, None)
        return
    fleet.present[seen.name] = seen.uid
    if not seen.terminating:
        fleet.leaving.discard(seen.name)
        replacement = fleet.replacing.get(seen.name)
        if replacement is not None and seen.uid != replacement.deleted_uid:
            replacement.created_at = seen.at if replacement.created_at is None else replacement.created_at
            if seen.healthy(fleet.health):
                del fleet.replacing[seen.name]


def _rollouts_and_starts(trace: Trace) -> Iterator[tuple[Seen, Json | None, bool]]:
    """What was seen of sets and pods: of a set with its rollout, of a pod with whether it begins to run its image."""
    changed = trace.changed_in_place()
    for seen in trace.of("pods", "scalesets"):
        if seen.kind == "scalesets":
            yield seen, _rollout(seen.object), False
        else:
            yield seen, None, seen.type == "ADDED" or (seen.uid, seen.order) in changed


def s3_nothing_more_after_breach(trace: Trace) -> Iterator[str]:
    """After a rollout ended as Faulted its target reaches no further instance, until another rollout begins."""
    faulted: dict[str, tuple[str, str]] = {}
    versions: dict[str, str] = {}
    for seen, rollout, begins in _rollouts_and_starts(trace):
        if seen.kind == "scalesets":
            if rollout and rollout["runningStatus"]["code"] == "Faulted" and rollout.get("kind") == "Image":
                faulted[seen.name] = (rollout["id"], _target(rollout).get("exactVersion", ""))
            else:
                faulted.pop(seen.name, None)
        elif seen.scale_set:
            version, before = seen.label(VERSION_LABEL), versions.get(seen.name)
            run, target = faulted.get(seen.scale_set, ("", ""))
            if begins and run and version == target and before not in (None, target):
                yield f"{seen.name} got {target} after rollout {run} had ended as Faulted"
            versions[seen.name] = version


def s4_previous_or_target(trace: Trace) -> Iterator[str]:
    """During a rollout every instance runs its previous image or the target's, no third one. A new one of a batch with
    surge goes back to what the old one ran.
    """
    images: dict[str, str] = {}
    before: dict[str, dict[str, str]] = {}
    rollouts: dict[str, Json] = {}
    for seen, rollout, begins in _rollouts_and_starts(trace):
        if seen.kind == "scalesets":
            if not rollout or rollout["runningStatus"]["code"] != "RollingForward":
                rollouts.pop(seen.name, None)
            elif rollouts.get(seen.name, {}).get("id") != rollout["id"]:
                rollouts[seen.name], before[seen.name] = rollout, dict(images)
            for new, old in _successors(seen.object):
                if old in before.get(seen.name, ()):
                    before[seen.name].setdefault(new, before[seen.name][old])
        elif seen.scale_set and begins:
            image = seen.image
            if seen.scale_set in rollouts and seen.name not in trace.disturbed:
                target = _target(rollouts[seen.scale_set]).get("image")
                previous = before[seen.scale_set].setdefault(seen.name, image)
                # What a tag meant when the instance ran it may be written behind the tag.
                if not {image, image.partition("@")[0]} & {previous, target}:
                    yield f"{seen.name} runs {image} in a rollout to {target}; it had {previous}"
            images[seen.name] = image


def s5_one_pod_per_instance(trace: Trace) -> Iterator[str]:
    """Never two pods of one instance: the first one is gone from the API server before the second one is made."""
    alive: dict[tuple[str, str], str] = {}
    for seen in trace.of("pods"):
        if not seen.scale_set:
            continue
        instance = (seen.scale_set, seen.label(INSTANCE_LABEL))
        if seen.type == "DELETED":
            if alive.get(instance) == seen.uid:
                del alive[instance]
        elif alive.setdefault(instance, seen.uid) != seen.uid:
            yield f"{seen.name}: pod {seen.uid} is there while {alive[instance]} of the same instance still is"
            alive[instance] = seen.uid


def s6_claims_stay(trace: Trace) -> Iterator[str]:
    """No claim is deleted, and a name keeps its uid, unless the set was made with Delete and is deleted itself. A claim
    keeps the owners that it was created with; only the garbage collector takes them away.
    """
    uids: dict[str, str] = {}
    owners: dict[str, set[str]] = {}
    ends = _ends_of_sets(trace)
    for seen in trace.of("persistentvolumeclaims"):
        if seen.name in trace.disturbed:
            continue
        mine = {str(each["uid"]) for each in seen.object["metadata"].get("ownerReferences") or ()}
        if mine - owners.setdefault(seen.uid, mine):
            yield f"claim {seen.name} got another owner"
        collected = bool(mine) and all(seen.at + TIMEOUT_SLACK >= ends.get(owner, inf) for owner in mine)
        if (seen.type == "DELETED" or seen.terminating) and not collected:
            yield f"claim {seen.name} was deleted"
        if uids.setdefault(seen.name, seen.uid) != seen.uid:
            yield f"claim {seen.name} is another one than before"
        if seen.type == "DELETED" and collected:
            del uids[seen.name]


def _ends_of_sets(trace: Trace) -> dict[str, float]:
    """When each set was deleted that takes its claims along."""
    ends: dict[str, float] = {}
    for seen in trace.of("scalesets"):
        retention = seen.object["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
        if retention.get("whenDeleted") == "Delete" and (seen.terminating or seen.type == "DELETED"):
            ends.setdefault(seen.uid, seen.at)
    return ends


def s8_versions_go_up(trace: Trace) -> Iterator[str]:
    """An instance's version only goes up, or back to the one that it had right before (a restore). A new one of a batch
    with surge had what the old one had.
    """
    history: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
    changed = trace.changed_in_place()
    living: defaultdict[str, set[str]] = defaultdict(set)
    for seen in trace.of("pods", "scalesets"):
        if seen.kind == "scalesets":
            for new, old in _successors(seen.object):
                if not living[new]:
                    history[new] = list(history[old])
            continue
        (living[seen.name].discard if seen.type == "DELETED" else living[seen.name].add)(seen.uid)
        version = parse_version(seen.label(VERSION_LABEL))
        begins = seen.type == "ADDED" or (seen.uid, seen.order) in changed
        if not begins or not seen.scale_set or not version or seen.name in trace.disturbed:
            continue
        versions = history[seen.name]
        if not versions or version > versions[-1]:
            versions.append(version)
        elif version < versions[-1]:
            if len(versions) < 2 or versions[-2] != version:
                yield f"{seen.name} went from {_dotted(versions[-1])} to {_dotted(version)}, which it had not before"
            versions.pop()


RULES: dict[str, Callable[[Trace], Iterator[str]]] = {
    "S1": s1_batch_limit,
    "S1 scaling in": s1_scaling_in,
    "S1 surge": s1_surge,
    "S3": s3_nothing_more_after_breach,
    "S4": s4_previous_or_target,
    "S5": s5_one_pod_per_instance,
    "S6": s6_claims_stay,
    "S8": s8_versions_go_up,
}


def _rollout(scale_set: Json) -> Json | None:
    rollout: Json | None = (scale_set.get("status") or {}).get("rollingUpgrade")
    return rollout if rollout and rollout.get("runningStatus") else None


def _target(rollout: Json) -> Json:
    return rollout.get("targetImageReference") or {}


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
