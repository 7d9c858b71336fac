"""What starts a rollout, and what replaces instances without one (semantics 4.1, 4.7).

A request by annotation is handled once: its value is recorded in the state together with what it led to. A start that
is refused is no rollout.
"""

from collections.abc import Mapping
from dataclasses import replace

from scaleset.api import names
from scaleset.api.scale_set_status import handled as kept
from scaleset.planning import batches, outdated, ranges
from scaleset.planning.batches import Rules
from scaleset.planning.draft import Draft, target_build
from scaleset.planning.gates import Gate, exceeds
from scaleset.planning.instances import Build
from scaleset.planning.rollout import begin, not_our_turn, replacing, starting
from scaleset.planning.settling import restore
from scaleset.planning.snapshot import Verdict
from scaleset.planning.state import NOBODY, Ending, Kind, Policy, Rollout, StartedBy, Target, Waiting, moved

NOTHING_TO_UPGRADE = (
    "The OS Rolling Upgrade API cannot be used on a ScaleSet unless it has some unprotected instances which have "
    "imageReference.version set to latest."
)


ADMITTED = Verdict(accepted=True)
"""Of what deletes nothing, nobody needs to be asked."""


def requests(draft: Draft) -> None:
    """Carry out what the user asked for by annotation since we last looked: cancel, then apply-model, then start."""
    if (value := _new(draft, names.ANNOTATION_CANCEL, draft.state.handled_cancel)) is not None:
        draft.state = replace(draft.state, handled_cancel=kept(value))
        _cancel(draft)
    if (value := _new(draft, names.ANNOTATION_APPLY, draft.state.handled_apply)) is not None:
        draft.state = replace(draft.state, handled_apply=kept(value))
        _apply_by_hand(draft, value)


def start_by_hand(draft: Draft) -> None:
    """Start the image upgrade that the user asked for, or say why not."""
    value = _new(draft, names.ANNOTATION_START, draft.state.handled_start)
    if value is None or draft.needs:
        return
    draft.state = replace(draft.state, handled_start=kept(value))
    if (refusal := _refusal(draft)) is not None:
        draft.waiting = Waiting("StartRefused", refusal)
        draft.tell("StartRefused", refusal, warning=True)
        return
    begin(draft, _rollout(draft, Kind.IMAGE, StartedBy.USER, draft.goal.target))


def start_by_platform(draft: Draft) -> None:
    """Start what the policy allows to start by itself: a model change in mode Rolling, then a newer image."""
    if draft.rollout is not None or draft.needs or draft.wanted is None or not draft.acceptance.accepted:
        return
    if draft.state.handled_start != draft.snapshot.state.handled_start:
        draft.wake(draft.now)  # What became of the start by hand is written down before anything else starts.
        return
    for rollout in _due(draft):
        failed = outdated.remembered(draft, rollout.target)
        if failed is not None:
            draft.waiting = Waiting("TargetFailed", _not_again(rollout.target, failed.reason))
            continue
        draft.waiting = _not_yet(draft, rollout)
        if draft.waiting is None and not draft.needs:
            begin(draft, rollout)
        return


def replace_at_once(draft: Draft) -> None:
    """Mode Automatic brings every outdated instance to the newest model at once; so does the repair of a set that was
    never healthy. One that is protected before its pod is touched keeps it.
    """
    protected = draft.protected() & draft.state.applying & draft.state.previous.keys()
    if spared := {n for n in protected if n in draft.instances and draft.instances[n].untouched}:
        draft.state = replace(restore(draft.state, spared), applying=draft.state.applying - spared)
        draft.look(sorted(spared))
    done = frozenset(n for n in draft.state.applying if _applied(draft, n))
    if done:
        previous = {n: b for n, b in draft.state.previous.items() if n not in done}
        draft.state = replace(draft.state, applying=draft.state.applying - done, previous=previous)
        draft.wake(draft.now if draft.rollout is not None else None)  # It may have waited for them.
    if (
        draft.wanted is None
        or draft.rollout is not None
        or draft.snapshot.spec.suspend
        or not draft.acceptance.accepted
    ):
        return
    _prove(draft)
    if draft.policy.mode == "Automatic":
        _follow(draft, outdated.model_target(draft))
    _repair(draft)


def _new(draft: Draft, annotation: str, handled: str | None) -> str | None:
    value = draft.snapshot.annotations.get(annotation)
    return value if value is not None and kept(value) != handled else None


def _cancel(draft: Draft) -> None:
    rollout = draft.rollout
    if rollout is None:
        return
    ending = Ending("Cancelled", "Cancelled by the user.")
    draft.update(replace(rollout, ending=ending, last_action="Cancel", last_action_time=draft.now))


def _refusal(draft: Draft) -> str | None:
    """Why a start by hand cannot be carried out."""
    if draft.rollout is not None:
        return f"Rolling upgrade {draft.rollout.id} is running. Wait for its end, or cancel it."
    if not draft.acceptance.accepted:
        return draft.acceptance.message
    if draft.snapshot.spec.suspend:
        return "The set is suspended. Set spec.suspend to false and ask again."
    protected = draft.protected()
    nobody = bool(draft.instances) and all(number in protected for number in draft.instances)
    if nobody or not draft.goal.model.reference.moving:
        return NOTHING_TO_UPGRADE
    return None


def _due(draft: Draft) -> list[Rollout]:
    """What somebody authorised and some instance is behind of, in the order in which it is tried. A new model and a new
    version are one rollout, so that no instance runs a mix of both that nobody tested; if that failed, the model goes
    alone.
    """
    wanted = draft.goal
    automatic = draft.policy.automatic_os_upgrade_policy.enable_automatic_os_upgrade
    image = automatic and wanted.version is not None and wanted.model.reference.moving
    behind = image and bool(outdated.by_image(draft, wanted.target))
    target = outdated.model_target(draft)
    model = draft.policy.mode == "Rolling" and bool(outdated.by_model(draft, target))
    due = []
    if behind:
        upgrade = _rollout(draft, Kind.IMAGE, StartedBy.PLATFORM, wanted.target)
        due.append(replace(upgrade, with_model=model))
    if model:
        change = _rollout(draft, Kind.MODEL, StartedBy.PLATFORM, target)
        only = target.version is not None and outdated.version_only(draft)
        due.append(replace(change, version_only=only))
    return due


def _not_yet(draft: Draft, rollout: Rollout) -> Waiting | None:
    """What an automatic start waits for. It adds nothing to the history while it waits."""
    if draft.snapshot.spec.suspend:
        return Waiting("Suspended", "The set is suspended: no rollout starts until spec.suspend is lifted.")
    if draft.state.proven is None:
        return Waiting(
            "HealthGateWaiting",
            "The set was never healthy: no rollout starts; instances that are not healthy are made again, batch by "
            "batch.",
        )
    if (waiting := replacing(draft)) is not None:
        return waiting
    if (waiting := starting(draft)) is not None:
        return Waiting("HealthGateWaiting", waiting.message)
    retry = outdated.retry_for(draft, rollout.target)
    delay = retry.delay if retry is not None else 0.0
    if retry is not None and draft.now < retry.time + delay:
        draft.wake(retry.time + delay)
        return Waiting("BackOff", f"The last attempt did not finish; the next follows {delay:g} s after it.")
    rules = draft.batch_rules(rollout)
    gate = draft.gate(percent=rules.policy.max_unhealthy_instance_percent, healthy_for=delay)
    if not gate.open and not _fixes_broken(draft, rollout, rules):
        draft.wake(gate.settles_at)
        return _gate_closed(draft, gate)
    if (turn := not_our_turn(draft)) is not None:
        return turn
    draft.need_fresh()
    return None


def _gate_closed(draft: Draft, gate: Gate) -> Waiting:
    """By whom, and what opens it. Instances that have just become healthy need nobody's help."""
    bad = [number for number in gate.unhealthy if draft.instances[number].bad]
    text = f"The health gate is closed: {gate.describe()}."
    if not exceeds(len(bad), gate.replicas, gate.percent):
        return Waiting("HealthGateWaiting", text)
    who = f"instance {bad[0]} is" if len(bad) == 1 else f"enough of instances {ranges.tell(bad)} are"
    text += (
        f" It opens when {who} healthy again. With prioritizeUnhealthyInstances in the policy an upgrade begins with "
        "what is unhealthy."
    )
    return Waiting("HealthGateWaiting", text, stalls=True)


def _fixes_broken(draft: Draft, rollout: Rollout, rules: Rules) -> bool:
    """Whether the first batch could consist of unhealthy outdated instances only that pass a closed gate."""
    candidates = [draft.instances[n] for n in sorted(outdated.outdated(draft, rollout))]
    return bool(batches.only_broken(outdated.pass_closed_gate(draft, rollout, candidates), rules=rules))


def _not_again(target: Target, reason: str) -> str:
    what = f"Version {target.version}" if target.version else f"Model {target.model}"
    why = "was cancelled by the user" if reason == "Cancelled" else "failed"
    return (
        f"{what} {why} and is not tried again until a newer version, a start by hand, or a change of what it was "
        "judged by: the template, health, and the policy's timeouts and limits of unhealthy instances."
    )


def _rollout(draft: Draft, kind: Kind, by: StartedBy, target: Target) -> Rollout:
    last = draft.state.rollout
    number = int(last.id) + 1 if last is not None and last.id.isdecimal() else 1
    return Rollout(
        id=str(number),
        kind=kind,
        started_by=by,
        target=target,
        policy=Policy.snapshot(draft.policy, kind, by=draft.health_source),
        started=draft.now,
        last_action_time=draft.now,
    )


# --- without batches and gates


def _apply_by_hand(draft: Draft, value: str) -> None:
    """`apply-model`: the named instances now, as `az vmss update-instances` does."""
    if draft.wanted is None or not draft.acceptance.accepted:
        draft.tell(
            "StartRefused", f"{names.ANNOTATION_APPLY} cannot be carried out: {draft.acceptance.message}", warning=True
        )
        return
    try:
        asked = frozenset(draft.instances) if value.strip() == "*" else ranges.parse(value)
    except ValueError as error:
        draft.tell(
            "InvalidSpec", f"{names.ANNOTATION_APPLY}: {error}. Write ids as 0,3 or 0-3, or * for all.", warning=True
        )
        return
    moves = outdated.by_hand(draft, outdated.model_target(draft))
    moves = {n: build for n, build in moves.items() if n in asked}
    going = _going(draft, moves)
    verdict = draft.need_admission(draft.dry_run(draft.goal.model, going)) if going else ADMITTED
    if verdict is None:
        return
    if not verdict.accepted:
        draft.waiting = Waiting("StartRefused", f"{names.ANNOTATION_APPLY}: {_refused(verdict)}")
        draft.tell("StartRefused", draft.waiting.message, warning=True)
        moves = {n: build for n, build in moves.items() if n not in going}
    _apply(draft, moves)


def _follow(draft: Draft, target: Target) -> None:
    """Take all outdated instances to the newest model at once; not to one that failed, as no rollout would either:
    where the image reference changed, the version that it means now may be the one that was remembered.
    """
    moves = outdated.by_model(draft, target)
    failed = outdated.remembered(draft, target) if moves else None
    if failed is not None:
        draft.waiting = Waiting("TargetFailed", _not_again(target, failed.reason))
        return
    _apply_where_admitted(draft, moves)


def _apply_where_admitted(draft: Draft, moves: Mapping[int, Build]) -> None:
    """Replace those instances at once, but no pod whose successor the API server would refuse: it is asked again later,
    and until then its instance is Blocked.
    """
    going = _going(draft, moves)
    verdict = draft.need_admission_again(draft.dry_run(draft.goal.model, going)) if going else ADMITTED
    if verdict is None:
        return
    if not verdict.accepted:
        draft.blocked.update(dict.fromkeys(going, _refused(verdict)))
        moves = {n: build for n, build in moves.items() if n not in going}
    _apply(draft, moves)


def _going(draft: Draft, moves: Mapping[int, Build]) -> dict[int, Build]:
    """Those of them whose pod would be deleted; what is gone already has nothing to lose."""
    pods = draft.snapshot.pods
    busy = draft.rollout.in_progress if draft.rollout is not None else NOBODY
    return {
        n: build
        for n, build in moves.items()
        if n not in busy and n in pods and not pods[n].deleting and not pods[n].ended
    }


def _refused(verdict: Verdict) -> str:
    return f"The API server refuses the new pod, so the present one stays. {verdict.message}"


def _apply(draft: Draft, moves: Mapping[int, Build]) -> None:
    """Replace those instances at once, except what the running batch has in hand. One that is being replaced already
    is taken to the newer build instead: the one before may be what cannot be created.
    """
    busy = draft.rollout.in_progress if draft.rollout is not None else NOBODY
    moves = {n: build for n, build in moves.items() if n not in busy}
    if not moves:
        return
    state = draft.state
    previous = {n: state.builds[n] for n in moves.keys() - state.applying}
    draft.state = replace(
        moved(state, moves), applying=state.applying | moves.keys(), previous={**state.previous, **previous}
    )
    draft.look(sorted(moves))
    model = draft.goal.model.name
    draft.tell("ApplyingModel", f"Replacing instances {ranges.tell(moves)} at once with model {model}.")


def _applied(draft: Draft, number: int) -> bool:
    instance = draft.instances.get(number)
    if instance is None:
        return True
    pod, build = instance.pod, instance.build
    return pod is not None and not pod.deleting and build is not None and build.same_as(pod)


def _prove(draft: Draft) -> None:
    """From the first time that enough instances are healthy there is something to protect."""
    if draft.state.proven is not None or not draft.instances:
        return
    healthy = sum(instance.healthy for instance in draft.instances.values())
    percent = draft.policy.rolling_upgrade_policy.max_unhealthy_instance_percent
    if not exceeds(draft.replicas - healthy, draft.replicas, percent):
        draft.state = replace(draft.state, proven=draft.now)


def _repair(draft: Draft) -> None:
    """A set that was never healthy has nothing to protect: what is not healthy and outdated is made again, batch by
    batch.
    """
    build = target_build(draft)
    if draft.state.proven is not None or build is None:
        return
    target = draft.goal.target
    moving = draft.goal.model.reference.moving
    behind = outdated.by_model(draft, outdated.model_target(draft)) if draft.policy.mode == "Rolling" else {}
    if moving:
        behind |= outdated.by_image(draft, target)
    broken = sorted(n for n in behind if not draft.instances[n].healthy and draft.instances[n].pod is not None)
    trying = sum(not i.healthy and build.means(i.build) for i in draft.instances.values())
    limit = batches.batch_limit(draft.replicas, draft.policy.rolling_upgrade_policy.max_batch_instance_percent)
    chosen = {n: behind[n] for n in broken[: max(0, limit - trying)]}
    if behind and moving:
        draft.state = replace(draft.state, current_version=build.version, current_image=build.image)
    _apply_where_admitted(draft, chosen)
