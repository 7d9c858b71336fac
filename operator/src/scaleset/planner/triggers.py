"""The triggers of rollouts, and of replacements without a rollout (docs/behaviour.md, Rolling upgrade).

A request by annotation is handled once: its value is recorded in the state together with its result. A refused start
creates no rollout.
"""

from collections.abc import Mapping
from dataclasses import replace

from scaleset.api import names
from scaleset.api.scale_set_status import handled as kept
from scaleset.planner import batches, outdated, ranges
from scaleset.planner.batch_judge import restore
from scaleset.planner.batches import Rules
from scaleset.planner.facts import Facts, in_order
from scaleset.planner.gates import Gate, exceeds
from scaleset.planner.instances import Build
from scaleset.planner.plan import Needs
from scaleset.planner.rollout import begin, not_our_turn, replacing, starting
from scaleset.planner.snapshot import Verdict
from scaleset.planner.state import Ending, Kind, Policy, Rollout, StartedBy, Target, Waiting, moved
from scaleset.planner.step import Step

NOTHING_TO_UPGRADE = (
    "The OS Rolling Upgrade API cannot be used on a ScaleSet unless it has some unprotected instances which have "
    "imageReference.version set to latest."
)


def requests(facts: Facts) -> Step:
    """Carry out the user's new requests by annotation: cancel, then apply-model."""
    return in_order(facts, _cancel, _apply_by_hand)[1]


def start_by_hand(facts: Facts) -> Step:
    """Start the image upgrade that the user asked for, or add an event with the reason against it."""
    value = _new(facts, names.ANNOTATION_START, facts.state.handled_start)
    if value is None or facts.needs:
        return facts.step()
    handled = facts.step(replace(facts.state, handled_start=kept(value)))
    if (refusal := _refusal(facts)) is not None:
        waiting = Waiting("StartRefused", refusal)
        return replace(handled.with_event("StartRefused", refusal, warning=True), waiting=waiting)
    facts = facts.after(handled)
    return handled.then(begin(facts, _rollout(facts, Kind.IMAGE, StartedBy.USER, facts.goal.target)))


def start_by_platform(facts: Facts) -> Step:
    """Start a rollout that the policy allows to start by itself: a model change in mode Rolling, then a newer image."""
    if facts.rollout is not None or facts.needs or facts.wanted is None or not facts.acceptance.accepted:
        return facts.step()
    if facts.state.handled_start != facts.snapshot.state.handled_start:
        return facts.step(again=True)  # The result of the start by hand is recorded before anything else starts.
    step = facts.step()
    for rollout in _due(facts):
        failed = outdated.remembered(facts, rollout.target)
        if failed is not None:
            step = replace(step, waiting=Waiting("TargetFailed", _not_again(rollout.target, failed.reason)))
            continue
        waiting = next((found for reason in REASONS_NOT_TO_START if (found := reason(facts, rollout))), None)
        if waiting is not None:
            return replace(step, waiting=waiting)
        return begin(facts, rollout) if facts.fresh else facts.need_fresh()
    return step


def replace_at_once(facts: Facts) -> Step:
    """Replace instances without batches. Mode Automatic brings every outdated instance to the newest model at once; so
    does the repair of a set that was never healthy. An instance that is protected before its pod is touched keeps the
    pod.
    """
    facts, step = in_order(facts, _spare_protected, _forget_applied)
    idle = facts.wanted is None or facts.rollout is not None
    if idle or facts.snapshot.spec.suspend or not facts.acceptance.accepted:
        return step
    return step.then(in_order(facts, _prove, _bring_all, _repair)[1])


def _new(facts: Facts, annotation: str, handled: str | None) -> str | None:
    value = facts.snapshot.annotations.get(annotation)
    return value if value is not None and kept(value) != handled else None


def _cancel(facts: Facts) -> Step:
    value = _new(facts, names.ANNOTATION_CANCEL, facts.state.handled_cancel)
    if value is None:
        return facts.step()
    state, rollout = replace(facts.state, handled_cancel=kept(value)), facts.rollout
    if rollout is not None:
        ending = Ending("Cancelled", "Cancelled by the user.")
        rollout = replace(rollout, ending=ending, last_action="Cancel", last_action_time=facts.now)
        state = replace(state, rollout=rollout)
    return facts.step(state)


def _refusal(facts: Facts) -> str | None:
    """Why a start by hand cannot be carried out."""
    if facts.rollout is not None:
        return f"Rolling upgrade {facts.rollout.id} is running. Wait for its end, or cancel it."
    if not facts.acceptance.accepted:
        return facts.acceptance.message
    if facts.snapshot.spec.suspend:
        return "The set is suspended. Set spec.suspend to false and ask again."
    protected = facts.protected
    nobody = bool(facts.instances) and all(number in protected for number in facts.instances)
    if nobody or not facts.goal.model.reference.moving:
        return NOTHING_TO_UPGRADE
    return None


def _due(facts: Facts) -> list[Rollout]:
    """Authorised targets that some instance lacks, in the order in which they are tried. A new model and a new version
    are one rollout, so that no instance runs an untested mix of both; if that rollout failed, the model is tried alone.
    """
    wanted = facts.goal
    automatic = facts.policy.automatic_os_upgrade_policy.enable_automatic_os_upgrade
    image = automatic and wanted.version is not None and wanted.model.reference.moving
    behind = image and bool(outdated.by_image(facts, wanted.target))
    target = outdated.model_target(facts)
    model = facts.policy.mode == "Rolling" and bool(outdated.by_model(facts, target))
    due = []
    if behind:
        upgrade = _rollout(facts, Kind.IMAGE, StartedBy.PLATFORM, wanted.target)
        due.append(replace(upgrade, with_model=model))
    if model:
        change = _rollout(facts, Kind.MODEL, StartedBy.PLATFORM, target)
        only = target.version is not None and outdated.version_only(facts)
        due.append(replace(change, version_only=only))
    return due


def _suspended(facts: Facts, _: Rollout) -> Waiting | None:
    if not facts.snapshot.spec.suspend:
        return None
    return Waiting("Suspended", "The set is suspended: no rollout starts until spec.suspend is lifted.")


def _never_healthy(facts: Facts, _: Rollout) -> Waiting | None:
    if facts.state.proven is not None:
        return None
    return Waiting(
        "HealthGateWaiting",
        "The set was never healthy, so no rollout starts. Unhealthy instances are created again, batch by batch.",
    )


def _starting(facts: Facts, rollout: Rollout) -> Waiting | None:
    waiting = starting(facts, rollout)
    return Waiting("HealthGateWaiting", waiting.message) if waiting is not None else None


def _backing_off(facts: Facts, rollout: Rollout) -> Waiting | None:
    retry = outdated.retry_for(facts, rollout.target)
    if retry is None or facts.now >= retry.time + retry.delay:
        return None
    return Waiting("BackOff", f"The last attempt left instances behind; the next follows {retry.delay:g} s after it.")


def _unhealthy(facts: Facts, rollout: Rollout) -> Waiting | None:
    """The health gate. After a failed attempt it has to have been open for as long as the back-off."""
    retry = outdated.retry_for(facts, rollout.target)
    rules = facts.batch_rules(rollout)
    percent = rules.policy.max_unhealthy_instance_percent
    gate = facts.gate(percent=percent, healthy_for=retry.delay if retry is not None else 0.0)
    return None if gate.open or _fixes_broken(facts, rollout, rules) else _gate_closed(facts, gate)


REASONS_NOT_TO_START = (
    _suspended,
    _never_healthy,
    replacing,
    _starting,
    _backing_off,
    _unhealthy,
    not_our_turn,
)
"""Reasons not to start automatically. A start that waits adds nothing to the history."""


def _gate_closed(facts: Facts, gate: Gate) -> Waiting:
    """Which instances close the gate, and what opens it. Instances that have just become healthy need no help."""
    bad = [number for number in gate.unhealthy if facts.instances[number].bad]
    text = f"The health gate is closed: {gate.describe()}."
    if not exceeds(len(bad), gate.replicas, gate.percent):
        return Waiting("HealthGateWaiting", text)
    who = f"instance {bad[0]} is" if len(bad) == 1 else f"enough of instances {ranges.abridged(bad)} are"
    text += (
        f" It opens when {who} healthy again. With prioritizeUnhealthyInstances in the policy an upgrade begins with "
        "what is unhealthy."
    )
    return Waiting("HealthGateWaiting", text, stalls=True)


def _fixes_broken(facts: Facts, rollout: Rollout, rules: Rules) -> bool:
    """Whether the first batch could consist only of unhealthy outdated instances, which pass a closed gate."""
    candidates = [facts.instances[n] for n in sorted(outdated.outdated(facts, rollout))]
    return bool(batches.only_broken(outdated.pass_closed_gate(facts, rollout, candidates), rules=rules))


def _not_again(target: Target, reason: str) -> str:
    what = f"Version {target.version}" if target.version else f"Model {target.model}"
    why = "was cancelled by the user" if reason == "Cancelled" else "failed"
    return (
        f"{what} {why} and is not tried again until a newer version, a start by hand, or a change of what it was "
        "judged by: the template, health, and the policy's timeouts and limits of unhealthy instances."
    )


def _rollout(facts: Facts, kind: Kind, by: StartedBy, target: Target) -> Rollout:
    last = facts.state.rollout
    number = int(last.id) + 1 if last is not None and last.id.isdecimal() else 1
    return Rollout(
        id=str(number),
        kind=kind,
        started_by=by,
        target=target,
        policy=Policy.snapshot(facts.policy, kind, by=facts.health_source),
        started=facts.now,
        last_action_time=facts.now,
    )


# --- without batches and gates


def _apply_by_hand(facts: Facts) -> Step:
    """`apply-model`: update the named instances now, as `az vmss update-instances` does."""
    value = _new(facts, names.ANNOTATION_APPLY, facts.state.handled_apply)
    if value is None:
        return facts.step()
    handled = facts.step(replace(facts.state, handled_apply=kept(value)))
    if facts.wanted is None or not facts.acceptance.accepted:
        text = f"{names.ANNOTATION_APPLY} cannot be carried out: {facts.acceptance.message}"
        return handled.with_event("StartRefused", text, warning=True)
    try:
        asked = frozenset(facts.instances) if value.strip() == "*" else ranges.parse(value)
    except ValueError as error:
        text = f"{names.ANNOTATION_APPLY}: {error}. Write ids as 0,3 or 0-3, or * for all."
        return handled.with_event("InvalidSpec", text, warning=True)
    moves = outdated.by_hand(facts, outdated.model_target(facts))
    moves = {n: build for n, build in moves.items() if n in asked}
    going = _going(facts, moves)
    if going:
        dry_run = facts.dry_run(facts.goal.model, going)
        verdict = facts.admission(dry_run)
        if verdict is None:
            return facts.need(Needs(admission=dry_run))
        if not verdict.accepted:
            text = f"{names.ANNOTATION_APPLY}: {_refused(verdict)}"
            refused = handled.with_event("StartRefused", text, warning=True)
            handled = replace(refused, waiting=Waiting("StartRefused", text))
            moves = {n: build for n, build in moves.items() if n not in going}
    return handled.then(_apply(facts.after(handled), moves))


def _apply_where_admitted(facts: Facts, moves: Mapping[int, Build]) -> Step:
    """Replace those instances at once, except a pod whose successor the API server would refuse: its instance is
    Blocked until a later dry run succeeds.
    """
    step = facts.step()
    if going := _going(facts, moves):
        dry_run = facts.dry_run(facts.goal.model, going)
        verdict = facts.held_admission(dry_run)
        if verdict is None:
            return facts.need(Needs(admission=dry_run))
        if not verdict.accepted:
            step = replace(step, blocked=dict.fromkeys(going, _refused(verdict)))
            moves = {n: build for n, build in moves.items() if n not in going}
    return step.then(_apply(facts, moves))


def _going(facts: Facts, moves: Mapping[int, Build]) -> dict[int, Build]:
    """Instances whose pod would be deleted; an instance without a pod has nothing to lose."""
    pods = facts.snapshot.pods
    return {
        n: build
        for n, build in moves.items()
        if n not in facts.in_batch and n in pods and not pods[n].deleting and not pods[n].ended
    }


def _refused(verdict: Verdict) -> str:
    return f"The API server refuses the new pod, so the present one stays. {verdict.message}"


def _apply(facts: Facts, moves: Mapping[int, Build]) -> Step:
    """Replace those instances at once, except those in the running batch. An instance that is being replaced already
    gets the newer build instead: its last build may be the one that cannot be created.
    """
    moves = {n: build for n, build in moves.items() if n not in facts.in_batch}
    if not moves:
        return facts.step()
    state = facts.state
    previous = {n: state.builds[n] for n in moves.keys() - state.applying}
    applying = state.applying | moves.keys()
    text = f"Replacing instances {ranges.abridged(moves)} at once with model {facts.goal.model.name}."
    return facts.step(
        replace(moved(state, moves), applying=applying, previous={**state.previous, **previous})
    ).with_event("ApplyingModel", text)


def _spare_protected(facts: Facts) -> Step:
    protected = facts.protected & facts.state.applying & facts.state.previous.keys()
    spared = {n for n in protected if n in facts.instances and facts.instances[n].untouched}
    if not spared:
        return facts.step()
    return facts.step(replace(restore(facts.state, spared), applying=facts.state.applying - spared))


def _forget_applied(facts: Facts) -> Step:
    done = frozenset(n for n in facts.state.applying if _applied(facts, n))
    if not done:
        return facts.step()
    previous = {n: b for n, b in facts.state.previous.items() if n not in done}
    state = replace(facts.state, applying=facts.state.applying - done, previous=previous)
    return facts.step(state, again=facts.rollout is not None)  # The rollout may have waited for these.


def _applied(facts: Facts, number: int) -> bool:
    instance = facts.instances.get(number)
    if instance is None:
        return True
    pod, build = instance.pod, instance.build
    return pod is not None and not pod.deleting and build is not None and build.same_as(pod)


def _prove(facts: Facts) -> Step:
    """Record the first time that enough instances are healthy: from then on there is something to protect."""
    if facts.state.proven is not None or not facts.instances:
        return facts.step()
    healthy = sum(instance.healthy for instance in facts.instances.values())
    percent = facts.policy.rolling_upgrade_policy.max_unhealthy_instance_percent
    if exceeds(facts.replicas - healthy, facts.replicas, percent):
        return facts.step()
    return facts.step(replace(facts.state, proven=facts.now))


def _bring_all(facts: Facts) -> Step:
    """Mode Automatic: take all outdated instances to the newest revision at once, but, like a rollout, never to a
    failed target. After a changed image reference the version that it means may be a remembered one.
    """
    if facts.policy.mode != "Automatic":
        return facts.step()
    target = outdated.model_target(facts)
    moves = outdated.by_model(facts, target)
    failed = outdated.remembered(facts, target) if moves else None
    if failed is not None:
        return replace(facts.step(), waiting=Waiting("TargetFailed", _not_again(target, failed.reason)))
    return _apply_where_admitted(facts, moves)


def _repair(facts: Facts) -> Step:
    """A set that was never healthy has nothing to protect: unhealthy outdated instances are recreated in batches."""
    build = facts.target_build
    if facts.state.proven is not None or build is None:
        return facts.step()
    moving = facts.goal.model.reference.moving
    behind = outdated.by_model(facts, outdated.model_target(facts)) if facts.policy.mode == "Rolling" else {}
    if moving:
        behind |= outdated.by_image(facts, facts.goal.target)
    broken = sorted(n for n in behind if not facts.instances[n].healthy and facts.instances[n].pod is not None)
    trying = sum(not i.healthy and build.means(i.build) for i in facts.instances.values())
    limit = batches.batch_limit(facts.replicas, facts.policy.rolling_upgrade_policy.max_batch_instance_percent)
    chosen = {n: behind[n] for n in broken[: max(0, limit - trying)]}
    step = _apply_where_admitted(facts, chosen)
    if behind and moving and any(map(build.means, step.state.builds.values())):
        step = step.to(replace(step.state, current_version=build.version, current_image=build.image))
    return step
