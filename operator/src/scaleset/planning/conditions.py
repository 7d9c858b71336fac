"""The conditions of a ScaleSet (semantics 1.3).

They follow kstatus: `Reconciling` and `Stalled` are there to be true only when something is going on or cannot go on,
so that `kubectl wait`, `helm --wait` and GitOps tools understand a set without knowing it.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from scaleset.api import names
from scaleset.api.conditions import find_condition
from scaleset.planning import deadlines, ranges, record
from scaleset.planning.draft import Draft, target_build
from scaleset.planning.gates import exceeds
from scaleset.planning.history import timestamp
from scaleset.planning.instances import HealthState
from scaleset.planning.rows import Counts, current
from scaleset.planning.scaling import kept_by_protection
from scaleset.planning.state import Code, Rollout

FAILED = "TargetFailed"
UNHEALTHY = "InstancesUnhealthy"
PROTECTED = "ScaleInProtected"
_ROLLING = {
    "Suspended": "Suspended",
    "Pause": "Paused",
    "InstancesInitializing": "WaitingForHealth",
    "HealthGateWaiting": "WaitingForHealth",
}
"""Reasons of Ready while a rollout runs, by what it waits for; otherwise it rolls forward."""


def conditions(draft: Draft, counts: Counts) -> list[dict[str, Any]]:
    """All of them, each with the generation that it is about."""
    progressing = _progressing(draft)
    why = stalled(draft)
    busy = _busy(draft, counts)
    available = not exceeds(counts.wanted - counts.healthy, counts.wanted, _limit(draft))
    whole = counts.healthy == counts.wanted == draft.replicas
    ready = draft.acceptance.accepted and whole and draft.rollout is None and not busy
    healthy = f"{counts.healthy} of {counts.wanted} instances are healthy"
    wanted = [
        ("Accepted", draft.acceptance.accepted, draft.acceptance.reason, draft.acceptance.message),
        ("Available", available, "GateOpen" if available else "TooManyUnhealthy", f"{healthy}."),
        ("Progressing", *progressing),
        ("Ready", ready, *_ready(draft, counts, ready=ready, progressing=progressing[1])),
        ("Reconciling", bool(busy), "Busy" if busy else "Idle", busy or "Nothing is under way."),
        (
            "Stalled",
            bool(why),
            why[0] if why else "NotStalled",
            why[1] if why else "Nothing is in the way.",
        ),
        ("UpToDate", *_up_to_date(draft, counts)),
    ]
    return [
        _condition(draft, kind, truth=truth, reason=reason, message=message) for kind, truth, reason, message in wanted
    ]


def _condition(draft: Draft, kind: str, *, truth: bool, reason: str, message: str) -> dict[str, Any]:
    word = "True" if truth else "False"
    before = find_condition(draft.reported.conditions, kind)
    since = record.seconds(before.last_transition_time) if before is not None and before.status == word else None
    return {
        "type": kind,
        "status": word,
        "reason": reason,
        "message": message,
        "observedGeneration": draft.snapshot.generation,
        "lastTransitionTime": timestamp(draft.now if since is None else since),
    }


def _limit(draft: Draft) -> int:
    return draft.policy.rolling_upgrade_policy.max_unhealthy_instance_percent


def _ready(draft: Draft, counts: Counts, *, ready: bool, progressing: str) -> tuple[str, str]:
    """Reason and sentence of the condition that `kubectl get` shows as STATUS."""
    healthy = f"{counts.healthy} of {counts.wanted} instances are healthy"
    last = draft.state.rollout
    if not draft.acceptance.accepted:
        return draft.acceptance.reason, draft.acceptance.message
    if draft.rollout is not None:
        waiting, text = draft.rollout.waiting, f"{healthy}; a rolling upgrade is running."
        if waiting is None or waiting.reason not in _ROLLING:
            return progressing, text
        return _ROLLING[waiting.reason], f"{text} {waiting.message}"
    if last is not None and last.code is Code.FAULTED and draft.waiting is not None and draft.waiting.reason == FAILED:
        return "Faulted", f"{healthy}; the last rolling upgrade failed.{_behind(draft, counts)}"
    if draft.shrinking is not None:
        return draft.shrinking.reason, f"{healthy}. {draft.shrinking.message}"
    if kept := kept_by_protection(draft):
        return PROTECTED, f"{healthy}; {kept} more than wanted are protected from scale-in."
    if ready:
        cancelled = last is not None and last.code is Code.CANCELLED and draft.waiting is not None
        reason = "Suspended" if draft.snapshot.spec.suspend else "Cancelled" if cancelled else "Healthy"
        return reason, f"{healthy}.{_behind(draft, counts)}"
    waits = draft.waiting is not None and draft.waiting.reason == "HealthGateWaiting" and draft.waiting.stalls
    reason = "WaitingForHealth" if waits else "Unhealthy" if _ill(draft) else "Starting"
    worst = _worst(draft)
    return reason, f"{healthy}. Most frequent: {worst}" if worst else f"{healthy}."


def _ill(draft: Draft) -> bool:
    """Whether an instance is unhealthy. One whose pod is only now asked for has yet to start."""
    coming = {creation.instance for creation in draft.creations} - refused(draft).keys()
    return any(instance.bad and number not in coming for number, instance in draft.instances.items())


def _worst(draft: Draft) -> str:
    """What keeps most instances from being healthy."""
    messages = Counter(i.message for i in draft.instances.values() if not i.healthy and i.message)
    return messages.most_common(1)[0][0] if messages else ""


def _behind(draft: Draft, counts: Counts) -> str:
    """How many instances are behind the spec, and what carries it out."""
    left = counts.wanted - counts.updated
    if left <= 0 or draft.wanted is None:
        return ""
    text = f" {left} of {counts.wanted} are behind the spec"
    if draft.waiting is not None:
        return f"{text}. {draft.waiting.message}"
    if draft.protected().issuperset(n for n, i in draft.instances.items() if not current(i, target_build(draft))):
        return f"{text}: they are protected."
    if draft.wanted.model.reference.moving and not draft.policy.automatic_os_upgrade_policy.enable_automatic_os_upgrade:
        text += f"; a newer version is brought by annotation {names.ANNOTATION_START}"
    if draft.policy.mode == "Manual":
        text += f"; a newer model by annotation {names.ANNOTATION_APPLY}, since the policy's mode is Manual"
    return f"{text}."


def _progressing(draft: Draft) -> tuple[bool, str, str]:
    rollout = draft.rollout
    if rollout is not None:
        waiting = rollout.waiting
        return True, str(rollout.code), waiting.message if waiting is not None else "A rolling upgrade is running."
    if draft.waiting is not None:
        return False, draft.waiting.reason, draft.waiting.message
    before = find_condition(draft.reported.conditions, "Progressing")
    if before is not None and before.reason == "StartRefused":
        return False, "StartRefused", before.message
    last = draft.state.rollout
    if last is None:
        return False, "Idle", "There was no rolling upgrade yet."
    return False, str(last.code), _ended(last)


def _ended(rollout: Rollout) -> str:
    what = f"version {rollout.target.version}" if rollout.target.version else f"model {rollout.target.model}"
    text = f"Rolling upgrade {rollout.id} to {what}: {rollout.code}."
    return f"{text} {rollout.error.message}" if rollout.error is not None else text


def _busy(draft: Draft, counts: Counts) -> str:
    """What is under way, or nothing."""
    under_way = []
    if draft.rollout is not None:
        under_way.append(f"Rolling upgrade {draft.rollout.id} is running.")
    if draft.state.applying:
        under_way.append(f"Instances {ranges.tell(draft.state.applying)} are being replaced.")
    if draft.shrinking is not None:
        under_way.append(draft.shrinking.message)
    if under_way:
        return " ".join(under_way)
    if draft.creations or draft.deletions:
        return "Instances are being created or deleted."
    if any(i.health is HealthState.INITIALIZING for i in draft.instances.values()):
        return f"{counts.healthy} of {counts.wanted} instances are healthy; the others are starting."
    return ""


def stalled(draft: Draft) -> tuple[str, str] | None:
    """What only a user can resolve."""
    if not draft.acceptance.accepted:
        return draft.acceptance.reason, draft.acceptance.message
    if draft.blocked:
        return "InstanceBlocked", together(draft.blocked, "blocked", draft.blocked)
    if missing := refused(draft):
        return "FailedCreate", together(missing, "cannot be created", missing)
    waiting = draft.rollout.waiting if draft.rollout is not None else draft.waiting
    leaving = draft.snapshot.pods.keys() - draft.instances.keys()
    for obstacle in (waiting, draft.shrinking, deadlines.refused(draft, leaving)):
        if obstacle is not None and obstacle.stalls:
            return obstacle.reason, obstacle.message
    if not draft.acceptance.refuses_all and (spared := kept_by_protection(draft)):
        return PROTECTED, f"{spared} instances more than wanted are protected from scale-in."
    if draft.waiting is not None and draft.waiting.reason == FAILED:
        last = draft.state.rollout
        why = last.error.message if last is not None and last.error is not None else draft.waiting.message
        return "RolloutFaulted" if last is not None and last.code is Code.FAULTED else FAILED, why
    return _unhealthy_for_long(draft)


def _unhealthy_for_long(draft: Draft) -> tuple[str, str] | None:
    """Instances that are not healthy after all the time that an upgrade would give them, while nothing is under way."""
    if draft.rollout is not None or draft.state.applying:
        return None
    late = []
    for number, instance in draft.instances.items():
        if instance.bad and instance.since is not None:
            at = instance.since + draft.health_timeout
            draft.wake(at if draft.now < at else None)
            late += [number] if draft.now >= at else []
    if not late:
        return None
    worst = Counter(draft.instances[n].message for n in late).most_common(1)[0][0]
    return UNHEALTHY, f"Instances {ranges.tell(late)} are not healthy. Most frequent: {worst}"


def _up_to_date(draft: Draft, counts: Counts) -> tuple[bool, str, str]:
    if draft.wanted is None or draft.wanted.version is None:
        return False, "Unknown", "There is no image version to compare with."
    current = counts.updated == counts.wanted
    build = f"version {draft.wanted.version} and model {draft.wanted.model.name}"
    what = f"{counts.updated} of {counts.wanted} instances run {build}."
    return current, "Current" if current else "Outdated", what


def refused(draft: Draft) -> dict[int, str]:
    """Instances without a pod, or a claim, since the API server refuses to create it."""
    missing = (number for number, i in draft.instances.items() if i.pod is None and number not in draft.blocked)
    return {number: words for number in missing if (words := draft.refusal(number)) is not None}


def together(numbers: Collection[int], what: str, obstacles: Mapping[int, str]) -> str:
    """A sentence about instances with the same obstacle."""
    first = min(numbers)
    be = "" if what.startswith("cannot") else "is " if len(numbers) == 1 else "are "
    if len(numbers) == 1:
        return f"Instance {first} {be}{what}. {obstacles[first]}"
    return f"Instances {ranges.tell(numbers)} {be}{what}. {first}: {obstacles[first]}"
