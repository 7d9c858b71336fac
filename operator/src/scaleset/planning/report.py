"""What the user sees: counts, instances out of the ordinary, conditions, and the events that go with their changes
(semantics 1.3 and 6).

The conditions follow kstatus: `Reconciling` and `Stalled` are there to be true only when something is going on or
cannot go on, so that `kubectl wait`, `helm --wait` and GitOps tools understand a set without knowing it.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scaleset.api import names
from scaleset.api.conditions import find_condition
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.planning import ranges, record
from scaleset.planning.draft import NO_POD, Draft, target_build
from scaleset.planning.gates import exceeds
from scaleset.planning.history import timestamp
from scaleset.planning.instances import HealthState, Instance
from scaleset.planning.scaling import extra
from scaleset.planning.snapshot import Snapshot
from scaleset.planning.state import Code, Rollout

MAX_INSTANCES = 50
MAX_MESSAGE = 256
MAX_NOTE = 100
MAX_OBSTACLES = 5
"""Different sentences about newly blocked instances in one decision."""
_TOLD = 1024
"""So much of a sentence tells it from another: long ones are cut in the status."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many instances are how."""

    wanted: int
    existing: int
    healthy: int
    updated: int
    bad: int


def status(draft: Draft) -> dict[str, Any]:
    """The whole status, as it should stand after this decision."""
    snapshot = draft.snapshot
    counts = count(draft)
    wanted = {
        "observedGeneration": snapshot.generation,
        "replicas": counts.existing,
        "healthyReplicas": counts.healthy,
        "updatedReplicas": counts.updated,
        "selector": f"{names.LABEL_NAME}={snapshot.owner.name}",
        "latestVersion": draft.latest,
        **record.write(draft.state, location=draft.asker.region),
        "instances": _instances(draft),
        "conditions": _conditions(draft, counts),
    }
    return _within_bounds(wanted)


def reported(snapshot: Snapshot) -> ScaleSetStatus:
    """What users were told so far, as far as it makes sense."""
    parts = ("conditions", "instances", "latestVersion")
    told = {name: snapshot.reported[name] for name in parts if name in snapshot.reported}
    return ScaleSetStatus.parse({"status": told})


def _within_bounds(wanted: dict[str, Any]) -> dict[str, Any]:
    """The same with sentences cut and lists shortened to what the CRD allows: a status that is refused would stop
    everything, since it is written first.
    """
    present = {name: value for name, value in wanted.items() if value is not None}
    cut = ScaleSetStatus.model_validate(present).model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {name: cut.get(name) for name in wanted}


def count(draft: Draft) -> Counts:
    """The counts of the status."""
    goal = target_build(draft)
    instances = draft.instances.values()
    return Counts(
        wanted=draft.replicas,
        existing=sum(i.pod is not None and not i.pod.deleting for i in instances),
        healthy=sum(i.healthy for i in instances),
        updated=sum(_current(i, goal) for i in instances),
        bad=sum(i.bad for i in instances),
    )


def _current(instance: Instance, goal: Any) -> bool:
    pod = instance.pod
    return goal is not None and pod is not None and not pod.deleting and bool(goal.same_as(pod))


def _instances(draft: Draft) -> list[dict[str, Any]]:
    """Instances that are not simply healthy and current, at most fifty."""
    goal = target_build(draft)
    rows: list[dict[str, Any]] = []
    for number in sorted(draft.instances):
        instance = draft.instances[number]
        blocked = draft.blocked.get(number)
        note = _note(instance)
        if instance.healthy and blocked is None and not note and (goal is None or _current(instance, goal)):
            continue
        if len(rows) == MAX_INSTANCES:
            break
        state = "Blocked" if blocked is not None else "Missing" if instance.pod is None else str(instance.health)
        row: dict[str, Any] = {"id": number, "state": state}
        if instance.build is not None:
            row["version"] = instance.pod.version if instance.pod is not None else instance.build.version
            row["latestModelApplied"] = _on_newest_model(draft, instance)
        if instance.since is not None:
            row["since"] = timestamp(instance.since)
        if message := _sentence(blocked or instance.message, note):
            row["message"] = message
        rows.append(row)
    return rows


def _note(instance: Instance) -> str:
    """What a failure that does not fail the instance has left behind."""
    return instance.pod.note[:MAX_NOTE] if instance.pod is not None else ""


def _sentence(message: str, note: str) -> str:
    """Both, the note always whole: by it the next decision knows that it was told."""
    if not (message and note):
        return (message or note)[:MAX_MESSAGE]
    return f"{message[: MAX_MESSAGE - len(note) - 2]}; {note}"


def _on_newest_model(draft: Draft, instance: Instance) -> bool:
    """Azure's `latestModelApplied`."""
    model = instance.pod.model if instance.pod is not None else instance.build.model if instance.build else ""
    return draft.wanted is not None and model == draft.wanted.model.name


# --- conditions


def _conditions(draft: Draft, counts: Counts) -> list[dict[str, Any]]:
    progressing = _progressing(draft)
    stalled = _stalled(draft)
    busy = _busy(draft, counts)
    available = not exceeds(counts.wanted - counts.healthy, counts.wanted, _limit(draft))
    ready = draft.acceptance.accepted and counts.healthy == counts.wanted and draft.rollout is None and not busy
    healthy = f"{counts.healthy} of {counts.wanted} instances are healthy"
    wanted = [
        ("Accepted", draft.acceptance.accepted, draft.acceptance.reason, draft.acceptance.message),
        ("Available", available, "GateOpen" if available else "TooManyUnhealthy", f"{healthy}."),
        ("Progressing", *progressing),
        ("Ready", ready, *_ready(draft, counts, ready=ready, progressing=progressing[1])),
        ("Reconciling", bool(busy), "Busy" if busy else "Idle", busy or "Nothing is under way."),
        (
            "Stalled",
            bool(stalled),
            stalled[0] if stalled else "NotStalled",
            stalled[1] if stalled else "Nothing is in the way.",
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
        return progressing, f"{healthy}; a rolling upgrade is running."
    if last is not None and last.code is Code.FAULTED and _stalled(draft) is not None:
        return "Faulted", f"{healthy}; the last rolling upgrade failed."
    if ready:
        return ("Suspended" if draft.snapshot.spec.suspend else "Healthy"), f"{healthy}."
    return ("Unhealthy" if counts.bad else "Starting"), f"{healthy}."


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
    if draft.rollout is not None:
        return f"Rolling upgrade {draft.rollout.id} is running."
    if draft.state.applying:
        return f"Instances {ranges.render(draft.state.applying)} are being replaced."
    if draft.creations or draft.deletions:
        return "Instances are being created or deleted."
    if any(i.health is HealthState.INITIALIZING for i in draft.instances.values()):
        return f"{counts.healthy} of {counts.wanted} instances are healthy; the others are starting."
    return ""


def _stalled(draft: Draft) -> tuple[str, str] | None:
    """What only a user can resolve."""
    if not draft.acceptance.accepted:
        return draft.acceptance.reason, draft.acceptance.message
    if draft.blocked:
        return "InstanceBlocked", _together(draft.blocked, "blocked", draft.blocked)
    if refused := _refused(draft):
        return "FailedCreate", _together(refused, "cannot be created", refused)
    waiting = draft.rollout.waiting if draft.rollout is not None else draft.waiting
    if waiting is not None and waiting.stalls:
        return waiting.reason, waiting.message
    surplus = len(draft.state.builds) - extra(draft.state) - draft.replicas
    if surplus > 0:
        text = f"{surplus} instances more than wanted are protected from scale-in."
        return "ScaleInProtected", text
    if draft.waiting is not None and draft.waiting.reason == "TargetFailed":
        last = draft.state.rollout
        why = last.error.message if last is not None and last.error is not None else draft.waiting.message
        return "RolloutFaulted" if last is not None and last.code is Code.FAULTED else "TargetFailed", why
    return None


def _up_to_date(draft: Draft, counts: Counts) -> tuple[bool, str, str]:
    if draft.wanted is None or draft.wanted.version is None:
        return False, "Unknown", "There is no image version to compare with."
    current = counts.updated == counts.wanted
    build = f"version {draft.wanted.version} and model {draft.wanted.model.name}"
    what = f"{counts.updated} of {counts.wanted} instances run {build}."
    return current, "Current" if current else "Outdated", what


# --- events that go with a change of the status


def announce(draft: Draft) -> None:
    """Tell, once, what this decision newly finds. It comes before what was done about it, so it is about the rollout
    that ran before.
    """
    done, draft.events = draft.events, []
    _news(draft)
    before = draft.snapshot.state.rollout
    draft.events = [*(draft.about(event, before) for event in draft.events), *done]


def _news(draft: Draft) -> None:
    before = draft.reported
    if draft.latest is not None and before.latest_version not in (None, draft.latest):
        draft.tell("NewVersionAvailable", f"latest is now version {draft.latest}, before {before.latest_version}.")
    accepted = find_condition(before.conditions, "Accepted")
    refusal = draft.acceptance.message
    if not draft.acceptance.accepted and (accepted is None or accepted.message[:_TOLD] != refusal[:_TOLD]):
        draft.tell(draft.acceptance.reason, refusal, warning=True)
    rows = _instances(draft)
    if draft.wanted is not None:  # Without any model the refusal has said it all.
        blocked = {row.id for row in before.instances if row.state == "Blocked"}
        for text in _newly(draft, rows, "blocked", known=blocked, obstacles=draft.blocked):
            draft.tell("InstanceBlocked", text, warning=True)
        refused = {row.id for row in before.instances if row.state == "Missing" and row.message != NO_POD}
        for text in _newly(draft, rows, "cannot be created", known=refused, obstacles=_refused(draft)):
            draft.tell("FailedCreate", text, warning=True)
    _tell_notes(draft, rows)
    waiting = draft.rollout.waiting if draft.rollout is not None else draft.waiting
    if (
        waiting is not None
        and waiting.reason in ("HealthGateWaiting", "Suspended")
        and not _was_waiting(draft, waiting.reason)
    ):
        draft.tell(waiting.reason, waiting.message)


def _refused(draft: Draft) -> dict[int, str]:
    """Instances without a pod, or a claim, since the API server refuses to create it."""
    missing = (number for number, i in draft.instances.items() if i.pod is None and number not in draft.blocked)
    return {number: words for number in missing if (words := draft.refusal(number)) is not None}


def _newly(
    draft: Draft, rows: list[dict[str, Any]], what: str, *, known: set[int], obstacles: Mapping[int, str]
) -> Iterator[str]:
    """Sentences about instances that are newly kept from running, those with the same obstacle together. What remembers
    that they were told is the list of instances, which has an end: those beyond it are told with the first of it.
    """
    if obstacles.keys() & {row["id"] for row in rows} <= known:
        return
    alike: dict[str, list[int]] = {}
    for number in sorted(obstacles.keys() - known):
        own = draft.snapshot.owner.instance(number)
        text = obstacles[number].replace(own, "").replace(f'"{number}"', "")
        kind = text if text in alike or len(alike) < MAX_OBSTACLES else next(reversed(alike))
        alike.setdefault(kind, []).append(number)
    for numbers in alike.values():
        yield _together(numbers, what, obstacles)


def _together(numbers: Collection[int], what: str, obstacles: Mapping[int, str]) -> str:
    first = min(numbers)
    be = "" if what.startswith("cannot") else "is " if len(numbers) == 1 else "are "
    if len(numbers) == 1:
        return f"Instance {first} {be}{what}. {obstacles[first]}"
    return f"Instances {ranges.render(numbers)} {be}{what}. {first}: {obstacles[first]}"


def _tell_notes(draft: Draft, rows: list[dict[str, Any]]) -> None:
    """Failures that do not fail an instance: of custom data, and of extensions that may fail. Of instances that are not
    listed nothing is told, since nothing would remember it.
    """
    known = {row.id: row.message or "" for row in draft.reported.instances}
    new = {
        number: note
        for number in (row["id"] for row in rows)
        if (note := _note(draft.instances[number])) and note not in known.get(number, "")
    }
    if new:
        text = f"On instances {ranges.render(new)}: {new[min(new)]}"
        draft.tell("ProvisioningFailed", text, warning=True)


def _was_waiting(draft: Draft, reason: str) -> bool:
    if draft.rollout is None:
        progressing = find_condition(draft.reported.conditions, "Progressing")
        return progressing is not None and progressing.reason == reason
    rollout = draft.snapshot.state.rollout
    return rollout is not None and rollout.waiting is not None and rollout.waiting.reason == reason
