"""What the platform starts by itself, and replacements without a rollout (docs/behaviour.md, Rolling upgrade)."""

from collections.abc import Mapping
from dataclasses import replace

from scaleset.api import names
from scaleset.planner import batches, by_hand, in_place, outdated, ranges, requests
from scaleset.planner.batch_judge import restore
from scaleset.planner.batches import Rules
from scaleset.planner.facts import Facts, in_order
from scaleset.planner.gates import Gate, exceeds
from scaleset.planner.instances import Build
from scaleset.planner.rollout import begin, halted, not_our_turn, replacing, starting
from scaleset.planner.snapshot import Verdict
from scaleset.planner.state import Kind, Rollout, StartedBy, Waiting, moved
from scaleset.planner.step import Step
from scaleset.planner.targets import Target


def asked(facts: Facts) -> Step:
    """Carry out the user's new requests that start no rollout."""
    return in_order(facts, requests.inherited, requests.cancel, requests.retry, _apply_by_hand)[1]


def start_by_platform(facts: Facts) -> Step:
    """Start a rollout that the policy allows to start by itself: a model change in mode Rolling, then a newer image."""
    if facts.rollout is not None or facts.needs or facts.wanted is None or not facts.acceptance.accepted:
        return facts.step()
    if any(each.request.unlike(facts) for each in by_hand.STARTS):
        return facts.step(again=True)  # The result of the start by hand is recorded before anything else starts.
    step = facts.step()
    for rollout in _due(facts):
        if rollout.policy.only_in_place and not outdated.outdated(facts, rollout):
            step = replace(step, waiting=in_place.refusal(facts, outdated.behind(facts, rollout)))
            continue
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
    if idle or facts.snapshot.suspension is not None or not facts.acceptance.accepted:
        return step
    return step.then(in_order(facts, _prove, _bring_all, _repair)[1])


def _due(facts: Facts) -> list[Rollout]:
    """Authorised targets that some instance lacks, in the order in which they are tried. A new model and a new version
    are one rollout, so that no instance runs an untested mix of both; if that rollout failed, the model is tried alone.
    """
    wanted = facts.goal
    automatic = facts.policy.automatic_os_upgrade_policy.enable_automatic_os_upgrade
    image = automatic and wanted.version is not None and wanted.model.reference.moving
    behind = image and bool(outdated.by_image(facts, wanted.target))
    target = outdated.model_target(facts)
    model = _rolls(facts, target) and bool(outdated.by_model(facts, target))
    due = []
    if behind:
        upgrade = by_hand.rollout(facts, Kind.IMAGE, StartedBy.PLATFORM, wanted.target)
        due.append(replace(upgrade, with_model=model))
    if model:
        due.append(by_hand.model_rollout(facts, StartedBy.PLATFORM))
    return due


def _rolls(facts: Facts, target: Target) -> bool:
    """Whether the policy takes a model to the instances by a rollout. In mode Automatic it goes on with the rollout
    that the user asked for, where that left instances behind.
    """
    mode = facts.policy.mode
    return mode == "Rolling" or (mode == "Automatic" and outdated.retry_for(facts, target) is not None)


def _suspended(facts: Facts, _: Rollout) -> Waiting | None:
    return halted(facts, "rollout")


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
    return (
        f"{what} {outdated.ended_as(reason)} and is not tried again until a newer version, a start by hand, or a "
        "change of what it was judged by: the template, health, and the policy's timeouts and limits of unhealthy "
        "instances."
    )


# --- without batches and gates


def _apply_by_hand(facts: Facts) -> Step:
    """`apply-model`: update the named instances now, as `az vmss update-instances` does."""
    value = requests.new(facts, requests.APPLY)
    if value is None:
        return facts.step()
    handled = facts.step(requests.handled(facts, requests.APPLY, value))
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
    if (forbidden := in_place.refusal(facts, moves)) is not None:
        text = f"{names.ANNOTATION_APPLY}: {forbidden.message}"
        handled = replace(handled.with_event("StartRefused", text, warning=True), waiting=forbidden)
        moves = in_place.reachable(facts, moves)
    if going := _going(facts, moves):
        verdict = facts.admission(going)
        if verdict is None:
            return facts.need_admission(going)
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
    forbidden = in_place.refusal(facts, moves)
    step = replace(facts.step(), waiting=forbidden)
    if forbidden is not None:
        moves = in_place.reachable(facts, moves)
    if going := _going(facts, moves):
        verdict = facts.held_admission(going)
        if verdict is None:
            return facts.need_admission(going)
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
    applying = facts.state.applying & facts.state.previous.keys() & facts.instances.keys()
    spared = {n for n in applying if facts.instances[n].untouched and _spared(facts, n)}
    if not spared:
        return facts.step()
    return facts.step(replace(restore(facts.state, spared), applying=facts.state.applying - spared))


def _spared(facts: Facts, number: int) -> bool:
    """Whether the instance was protected meanwhile, or the policy forbids now to make its pod again."""
    if number in facts.protected:
        return True
    return facts.policy.only_in_place and in_place.obstacle(facts, number, facts.state.builds[number]) is not None


def _forget_applied(facts: Facts) -> Step:
    done = frozenset(n for n in facts.state.applying if _applied(facts, n))
    if not done:
        return facts.step()
    previous = {n: b for n, b in facts.state.previous.items() if n not in done}
    state = replace(facts.state, applying=facts.state.applying - done, previous=previous)
    # The rollout may have waited for these, and the current version for the last of them.
    return facts.step(state, again=facts.rollout is not None or not state.applying)


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
    failed target. After a changed image reference the version that it means may be a remembered one. A rollout that
    the user asked for goes first.
    """
    if facts.policy.mode != "Automatic" or requests.model_rollout_asked(facts):
        return facts.step()
    target = outdated.model_target(facts)
    if _rolls(facts, target):
        return facts.step()
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
