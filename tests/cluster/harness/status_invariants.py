"""What a ScaleSet says about itself must be true (S14): counts add up, and Completed means all on the target."""

from collections.abc import Callable, Iterator
from itertools import combinations

from .api import Json
from .trace import INSTANCE_LABEL, RELABELLED, SET_LABEL, VERSION_LABEL, Seen, Trace, parse_ranges, parse_version

# The count of the contract, and the range of instances that it counts.
COUNTS = {
    "successfulInstanceCount": "successful",
    "failedInstanceCount": "failed",
    "inProgressInstanceCount": "inProgress",
    "pendingInstanceCount": "pending",
}


def s14_counts_add_up(trace: Trace) -> Iterator[str]:
    """Each count equals its range, no instance is in two of them, and there are not more than the set has: while
    it is scaled in, than it comes from.
    """
    instances: dict[str, set[int]] = {}
    for seen in trace.of("pods", "scalesets"):
        if seen.kind == "pods":
            if seen.scale_set:
                instances.setdefault(seen.scale_set, set()).add(int(seen.label(INSTANCE_LABEL)))
            continue
        status = seen.object.get("status") or {}
        spec = seen.object["spec"]
        current = status.get("observedGeneration") == seen.object["metadata"].get("generation")
        total = status.get("replicas", 0)
        for key in ("healthyReplicas", "updatedReplicas"):
            if status.get(key, 0) > total:
                yield f"{seen.name}: {key}={status[key]} of replicas={total}"
        rollout = status.get("rollingUpgrade")
        if not rollout:
            continue
        where = f"{seen.name} at resourceVersion {seen.order}"
        yield from (f"{where}: {problem}" for problem in _rollout_problems(rollout))
        replicas = max(spec.get("replicas", 1), (status.get("scaleIn") or {}).get("from", 0))
        running = rollout["runningStatus"]["code"] == "RollingForward"
        counted = sum((rollout.get("progress") or {}).values())
        protected = _protected(spec) & instances.get(seen.name, set())
        if running and current and counted > replicas - len(protected):
            yield f"{where}: {counted} instances are counted of {replicas}, {len(protected)} are protected"


def _rollout_problems(rollout: Json) -> Iterator[str]:
    progress = rollout.get("progress") or {}
    ranges = {key: parse_ranges(rollout.get(key)) for key in COUNTS.values()}
    for count, key in COUNTS.items():
        if progress.get(count, 0) != len(ranges[key]):
            yield f"{count}={progress.get(count, 0)}, but {key}={rollout.get(key)!r}"
    for one, other in combinations(ranges, 2):
        if both := ranges[one] & ranges[other]:
            yield f"instances {sorted(both)} are both {one} and {other}"
    for part in ("restored", "restoring", "restoreFailed"):
        if not parse_ranges(rollout.get(part)) <= ranges["failed"]:
            yield f"{part}={rollout.get(part)!r} is not part of failed={rollout.get('failed')!r}"
    code = rollout["runningStatus"]["code"]
    if code == "Completed" and (ranges["pending"] or ranges["inProgress"]):
        yield f"Completed with pending={rollout.get('pending')!r}, inProgress={rollout.get('inProgress')!r}"
    if code == "Faulted" and not (rollout.get("error") or {}).get("message"):
        yield "Faulted without an error message"


def s14_completed_means_all(trace: Trace) -> Iterator[str]:
    """When an image rollout is Completed, its target or something newer runs on all instances but failed, protected
    and blocked ones, and those that the set has no room for and that go next.

    A status speaks of the spec that it was derived from, not of one that came while it was being written. A pod that
    lost our label is no instance.
    """
    members: dict[str, Seen] = {}
    specs: dict[tuple[str, int], Json] = {}
    completed: set[str] = set()
    for seen in trace.of("pods", "scalesets"):
        if seen.kind == "pods":
            lost = not seen.scale_set or SET_LABEL in seen.label(RELABELLED).split()
            if seen.type == "DELETED" or seen.terminating or lost:
                members.pop(seen.uid, None)
            else:
                members[seen.uid] = seen
            continue
        status = seen.object.get("status") or {}
        specs[seen.uid, seen.object["metadata"]["generation"]] = seen.object["spec"]
        rollout = status.get("rollingUpgrade") or {}
        done = (rollout.get("runningStatus") or {}).get("code") == "Completed" and rollout.get("kind") == "Image"
        if not done or rollout.get("id") in completed:
            continue
        completed.add(rollout["id"])
        spec = specs.get((seen.uid, status["observedGeneration"])) or seen.object["spec"]
        target = (rollout.get("targetImageReference") or {}).get("exactVersion", "")
        exempt = parse_ranges(rollout.get("failed")) | _protected(spec) | _blocked(seen.object)
        ours = [pod for pod in members.values() if pod.scale_set == seen.name]
        versions = {int(pod.label(INSTANCE_LABEL) or -1): pod.label(VERSION_LABEL) for pod in ours}
        behind = sorted(
            instance
            for instance, version in versions.items()
            if instance not in exempt and parse_version(version) < parse_version(target)
        )
        # One that stays and has no pod now makes room for nobody.
        recorded = frozenset().union(*(parse_ranges(build.get("instances")) for build in status.get("builds") or ()))
        surplus = len(versions.keys() | recorded) - spec.get("replicas", 1)
        if len(behind) > max(0, surplus):
            yield f"{seen.name}: rollout {rollout['id']} to {target} is Completed, but {behind} run something older"


def s14_history(trace: Trace) -> Iterator[str]:
    """At most five attempts, newest first, and only the newest may be running."""
    for seen in trace.of("scalesets"):
        attempts = [each["properties"] for each in (seen.object.get("status") or {}).get("osUpgradeHistory") or []]
        starts = [each["runningStatus"].get("startTime", "") for each in attempts]
        if len(attempts) > 5:
            yield f"{seen.name}: {len(attempts)} attempts in the history"
        if starts != sorted(starts, reverse=True):
            yield f"{seen.name}: the history is not newest first: {starts}"
        if any(each["runningStatus"]["code"] == "RollingForward" for each in attempts[1:]):
            yield f"{seen.name}: an attempt before the newest one is still RollingForward"


def _protected(spec: Json) -> frozenset[int]:
    protections = spec.get("protectedInstances") or []
    return frozenset(each["id"] for each in protections if each.get("protectFromScaleSetActions"))


def _blocked(scale_set: Json) -> frozenset[int]:
    """Instances that the operator must leave alone, and says so."""
    rows = (scale_set.get("status") or {}).get("instances") or []
    return frozenset(row["id"] for row in rows if row["state"] == "Blocked")


RULES: dict[str, Callable[[Trace], Iterator[str]]] = {
    "S14 counts": s14_counts_add_up,
    "S14 completed": s14_completed_means_all,
    "S14 history": s14_history,
}
