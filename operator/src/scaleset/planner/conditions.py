"""The conditions of a ScaleSet.

They follow kstatus: `Reconciling` is true only while work is under way, `Stalled` only while work is stuck, so that
`kubectl wait`, `helm --wait` and GitOps tools understand a set without knowing it.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from scaleset.api import names
from scaleset.api.base import find_condition
from scaleset.api.moments import seconds, timestamp
from scaleset.planner import deadlines, in_place, ranges
from scaleset.planner.facts import Facts
from scaleset.planner.gates import exceeds
from scaleset.planner.instances import Build
from scaleset.planner.pod_diff import Diff
from scaleset.planner.rows import Counts, current
from scaleset.planner.scaling import kept_by_protection
from scaleset.planner.state import Code, Rollout

FAILED = "TargetFailed"
UNHEALTHY = "InstancesUnhealthy"
PROTECTED = "ScaleInProtected"
_ROLLING = {
    "Suspended": "Suspended",
    "Pause": "Paused",
    "InstancesInitializing": "WaitingForHealth",
    "HealthGateWaiting": "WaitingForHealth",
}
"""Reasons of Ready while a rollout waits, by the reason it waits for; without one the reason is that it rolls forward.
"""


def conditions(facts: Facts, counts: Counts, diff: Diff) -> list[dict[str, Any]]:
    """All conditions, each with the observed generation; `diff` holds the changes of pods in this decision."""
    progressing = _progressing(facts)
    why = stalled(facts)
    busy = _busy(facts, counts, diff)
    available = not exceeds(counts.wanted - counts.healthy, counts.wanted, _limit(facts))
    whole = counts.healthy == counts.wanted == facts.replicas
    ready = facts.acceptance.accepted and whole and facts.rollout is None and not busy
    healthy = f"{counts.healthy} of {counts.wanted} instances are healthy"
    wanted = [
        ("Accepted", facts.acceptance.accepted, facts.acceptance.reason, facts.acceptance.message),
        ("Available", available, "GateOpen" if available else "TooManyUnhealthy", f"{healthy}."),
        ("Progressing", *progressing),
        ("Ready", ready, *_ready(facts, counts, diff, ready=ready, progressing=progressing[1])),
        ("Reconciling", bool(busy), "Busy" if busy else "Idle", busy or "Nothing is under way."),
        ("Stalled", bool(why), *(why or ("NotStalled", "Nothing is in the way."))),
        ("UpToDate", *_up_to_date(facts, counts)),
    ]
    return [
        _condition(facts, kind, truth=truth, reason=reason, message=message) for kind, truth, reason, message in wanted
    ]


def _condition(facts: Facts, kind: str, *, truth: bool, reason: str, message: str) -> dict[str, Any]:
    word = "True" if truth else "False"
    before = find_condition(facts.reported.conditions, kind)
    since = seconds(before.last_transition_time) if before is not None and before.status == word else None
    return {
        "type": kind,
        "status": word,
        "reason": reason,
        "message": message,
        "observedGeneration": facts.snapshot.generation,
        "lastTransitionTime": timestamp(facts.now if since is None else since),
    }


def _limit(facts: Facts) -> int:
    return facts.policy.rolling_upgrade_policy.max_unhealthy_instance_percent


def _ready(facts: Facts, counts: Counts, diff: Diff, *, ready: bool, progressing: str) -> tuple[str, str]:
    """Reason and sentence of the condition that `kubectl get` shows as STATUS."""
    healthy = f"{counts.healthy} of {counts.wanted} instances are healthy"
    last = facts.state.rollout
    if not facts.acceptance.accepted:
        return facts.acceptance.reason, facts.acceptance.message
    if facts.rollout is not None:
        waiting, text = facts.rollout.waiting, f"{healthy}; a {facts.rollout.noun.lower()} is running."
        if waiting is None or waiting.reason not in _ROLLING:
            return progressing, text
        return _ROLLING[waiting.reason], f"{text} {waiting.message}"
    if last is not None and last.code is Code.FAULTED and facts.waiting is not None and facts.waiting.reason == FAILED:
        return "Faulted", f"{healthy}; the last rolling upgrade failed.{_behind(facts, counts)}"
    if facts.shrinking is not None:
        return facts.shrinking.reason, f"{healthy}. {facts.shrinking.message}"
    if kept := kept_by_protection(facts):
        return PROTECTED, f"{healthy}; {kept} more than wanted are protected from scale-in."
    if ready:
        cancelled = last is not None and last.code is Code.CANCELLED and facts.waiting is not None
        reason = "Suspended" if facts.snapshot.suspension is not None else "Cancelled" if cancelled else "Healthy"
        return reason, f"{healthy}.{_suspended(facts, _behind(facts, counts))}"
    waits = facts.waiting is not None and facts.waiting.reason == "HealthGateWaiting" and facts.waiting.stalls
    reason = "WaitingForHealth" if waits else "Unhealthy" if _ill(facts, diff) else "Starting"
    worst = _worst(facts)
    return reason, f"{healthy}. Most frequent: {worst}" if worst else f"{healthy}."


def _ill(facts: Facts, diff: Diff) -> bool:
    """Whether an instance is unhealthy. An instance whose pod is created in this decision is still starting."""
    coming = {creation.instance for creation in diff.creations} - refused(facts).keys()
    return any(instance.bad and number not in coming for number, instance in facts.instances.items())


def _worst(facts: Facts) -> str:
    """The most frequent cause of unhealthy instances. Instances that are created later have none of their own."""
    messages = Counter(
        i.message for i in facts.instances.values() if not i.healthy and i.message and i.queued_behind is None
    )
    return messages.most_common(1)[0][0] if messages else ""


def _behind(facts: Facts, counts: Counts) -> str:
    """How many instances are behind the spec, and what will update them."""
    left = counts.wanted - counts.updated
    if left <= 0 or facts.wanted is None:
        return ""
    text = f" {left} of {counts.wanted} are behind the spec"
    if facts.waiting is not None:
        return f"{text}. {facts.waiting.message}"
    if facts.protected.issuperset(n for n, i in facts.instances.items() if not current(i, facts.target_build)):
        return f"{text}: they are protected."
    if facts.wanted.model.reference.moving and not facts.policy.automatic_os_upgrade_policy.enable_automatic_os_upgrade:
        text += f"; a newer version is brought by annotation {names.ANNOTATION_START}"
    if facts.policy.mode == "Manual":
        text += (
            f"; a newer model by annotation {names.ANNOTATION_MODEL_ROLLOUT}, or at once by "
            f"{names.ANNOTATION_APPLY}, since the policy's mode is Manual"
        )
    return f"{text}."


def _suspended(facts: Facts, text: str) -> str:
    """The text with who suspends the set, unless it says so already."""
    suspension = facts.snapshot.suspension
    return text if suspension is None or suspension.who in text else f"{text} {suspension.who}."


def _progressing(facts: Facts) -> tuple[bool, str, str]:
    rollout = facts.rollout
    if rollout is not None:
        waiting = rollout.waiting
        text = f"A {rollout.noun.lower()} is running."
        return True, str(rollout.code), waiting.message if waiting is not None else text
    if facts.waiting is not None:
        return False, facts.waiting.reason, facts.waiting.message
    before = find_condition(facts.reported.conditions, "Progressing")
    if before is not None and before.reason == "StartRefused":
        return False, "StartRefused", before.message
    last = facts.state.rollout
    if last is None:
        return False, "Idle", "There was no rolling upgrade yet."
    return False, str(last.code), _ended(last)


def _ended(rollout: Rollout) -> str:
    text = f"{rollout.noun} {rollout.id}{rollout.to}: {rollout.code}."
    return f"{text} {rollout.error.message}" if rollout.error is not None else text


def _busy(facts: Facts, counts: Counts, diff: Diff) -> str:
    """A sentence about the work under way; empty without any."""
    under_way = []
    if facts.rollout is not None:
        under_way.append(f"{facts.rollout.noun} {facts.rollout.id} is running.")
    if facts.state.applying:
        under_way.append(f"Instances {ranges.abridged(facts.state.applying)} are being replaced.")
    if facts.shrinking is not None:
        under_way.append(facts.shrinking.message)
    if under_way:
        return " ".join(under_way)
    if diff.deletions or diff.creations:
        return "Instances are being created or deleted."
    if any(instance.starting for instance in facts.instances.values()):
        return f"{counts.healthy} of {counts.wanted} instances are healthy; the others are starting."
    return ""


def stalled(facts: Facts) -> tuple[str, str] | None:
    """A problem that only a user can resolve, or None."""
    if not facts.acceptance.accepted:
        return facts.acceptance.reason, facts.acceptance.message
    if facts.blocked:
        return "InstanceBlocked", together(facts.blocked, "blocked", facts.blocked)
    if missing := refused(facts):
        return "FailedCreate", together(missing, "cannot be created", missing)
    waiting = facts.obstacle
    leaving = facts.snapshot.pods.keys() - facts.instances.keys()
    for obstacle in (waiting, facts.shrinking, deadlines.refused(facts, leaving)):
        if obstacle is not None and obstacle.stalls:
            return obstacle.reason, obstacle.message
    if not facts.acceptance.refuses_all and (spared := kept_by_protection(facts)):
        return PROTECTED, f"{spared} instances more than wanted are protected from scale-in."
    if facts.waiting is not None and facts.waiting.reason == FAILED:
        last = facts.state.rollout
        why = last.error.message if last is not None and last.error is not None else facts.waiting.message
        return "RolloutFaulted" if last is not None and last.code is Code.FAULTED else FAILED, why
    return _unhealthy_for_long(facts)


def _unhealthy_for_long(facts: Facts) -> tuple[str, str] | None:
    """Instances that stay unhealthy for longer than an upgrade would allow, while nothing is under way."""
    if facts.rollout is not None or facts.state.applying or _born_again(facts):
        return None
    timeout = facts.health_timeout
    late = [
        number
        for number, instance in facts.instances.items()
        if instance.bad and instance.since is not None and facts.now >= instance.since + timeout
    ]
    if not late:
        return None
    worst = Counter(facts.instances[n].message for n in late).most_common(1)[0][0]
    text = f"Instances {ranges.abridged(late)} are not healthy. Most frequent: {worst}"
    if queued := [number for number, instance in facts.instances.items() if instance.queued_behind in late]:
        text = (
            f"{text.rstrip('.')}. Instances {ranges.abridged(queued)} are created once they are healthy (OrderedReady)"
        )
    return UNHEALTHY, text


def _born_again(facts: Facts) -> bool:
    """Whether a set that was never healthy is being recreated batch by batch, and an instance of the batch still
    starts.
    """
    starting = any(instance.starting for instance in facts.instances.values())
    return facts.state.proven is None and starting


def _up_to_date(facts: Facts, counts: Counts) -> tuple[bool, str, str]:
    if facts.wanted is None or facts.wanted.version is None:
        return False, "Unknown", "There is no image version to compare with."
    current = counts.updated == counts.wanted
    build = f"version {facts.wanted.version} and model {facts.wanted.model.name}"
    what = f"{counts.updated} of {counts.wanted} instances run {build}."
    forbidden = None if current else in_place.refusal(facts, _to_current(facts))
    if forbidden is not None:
        return False, forbidden.reason, f"{what} {forbidden.message}"
    return current, "Current" if current else "Outdated", what


def _to_current(facts: Facts) -> dict[int, Build]:
    """What would bring every instance up to date."""
    goal = facts.target_build
    if goal is None or not facts.policy.only_in_place:
        return {}
    return {number: goal for number, i in facts.instances.items() if not current(i, goal)}


def refused(facts: Facts) -> dict[int, str]:
    """Instances whose pod or claim the API server refuses to create."""
    missing = (number for number, i in facts.instances.items() if i.pod is None and number not in facts.blocked)
    return {number: words for number in missing if (words := facts.refusal(number)) is not None}


def together(numbers: Collection[int], what: str, obstacles: Mapping[int, str]) -> str:
    """A sentence about instances with the same obstacle."""
    first = min(numbers)
    be = "" if what.startswith("cannot") else "is " if len(numbers) == 1 else "are "
    if len(numbers) == 1:
        return f"Instance {first} {be}{what}. {obstacles[first]}"
    return f"Instances {ranges.abridged(numbers)} {be}{what}. {first}: {obstacles[first]}"
