"""Which instances are outdated, and which targets the platform does not try again."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import replace

from scaleset.planner import in_place
from scaleset.planner.facts import Facts
from scaleset.planner.gallery import LATEST, number, same
from scaleset.planner.instances import Build, Instance
from scaleset.planner.revisions import Reference, Revision
from scaleset.planner.state import Kind, Rollout, State
from scaleset.planner.targets import FailedTarget, Retry, Target

CANCELLED = "Cancelled"
SUPERSEDED = "Superseded"
ROLLED_BACK = "RolledBack"
BY_USER = (CANCELLED, ROLLED_BACK)
"""Reasons to remember a target that are no verdict on it."""
_REMEMBERED = 50
_JUDGED = "judged-"


def by_image(facts: Facts, target: Target) -> dict[int, Build]:
    """Outdated instances for an image upgrade, with their new builds. These are unprotected instances of the same image
    definition on a lower version, or on the same version with another image. Never a downgrade, never another sku;
    Blocked instances are left alone.
    """
    goal = number(target.version or "0.0.0")
    definition = _reference(facts, target).definition
    return {
        i.id: target.build_for(build)
        for i, build in _replaceable(facts)
        if i.id not in facts.blocked
        and (number(build.version) < goal or other_image(i, build, target))
        and (build.model not in facts.models or facts.models[build.model].reference.definition == definition)
    }


def _to_restart(facts: Facts, rollout: Rollout) -> dict[int, Build]:
    """Unprotected instances whose pod was there when the restart began, with their build to be made again. A missing
    pod is made anyway, and an instance whose model is gone cannot be made again.
    """
    return {
        i.id: replace(build, restart=rollout.restart, digest=None)
        for i, build in _replaceable(facts)
        if i.id not in facts.blocked
        and i.pod is not None
        and i.pod.created <= rollout.started
        and build.restart != rollout.restart
        and build.model in facts.models
    }


def other_image(instance: Instance, build: Build, target: Target) -> bool:
    """Whether the instance runs another image of the same version, which was deleted and published again. Only the
    image that the pod records as asked for counts; admission may have rewritten the one in its spec.
    """
    pod = instance.pod
    if pod is None or pod.asked_image is None or target.image is None:
        return False
    return same(build.version, target.version) and build.image == pod.asked_image != target.image


def by_model(facts: Facts, target: Target) -> dict[int, Build]:
    """Unprotected instances that the newest model changes, with their new builds. Blocked instances are left alone."""
    return {number: new for number, new in by_hand(facts, target).items() if number not in facts.blocked}


def by_hand(facts: Facts, target: Target) -> dict[int, Build]:
    """As `by_model`, with Blocked instances as well: the newest model may unblock them."""
    moves = ((i.id, build, _with_model(facts, target, build)) for i, build in _replaceable(facts))
    return {number: new for number, build, new in moves if not new.means(build)}


def _with_model(facts: Facts, target: Target, build: Build) -> Build:
    """The build with the newest model. The version changes only if the image reference did, and goes down only to a
    pin.
    """
    kept = Build(target.model, build.version, build.image, os_type=build.os_type)
    model = facts.models.get(build.model)
    reference = _reference(facts, target)
    if target.version is None or (model is not None and model.reference == reference):
        return kept
    comparable = model is None or model.reference.definition == reference.definition
    if comparable and target.reference == LATEST and number(build.version) >= number(target.version):
        return kept
    return target.build_for(build)


def _reference(facts: Facts, target: Target) -> Reference:
    model = facts.models.get(target.model)
    if model is not None:
        return model.reference
    return Reference(target.publisher, target.offer, target.sku, target.reference)


def _replaceable(facts: Facts) -> Iterator[tuple[Instance, Build]]:
    protected = facts.protected
    return (
        (instance, instance.build)
        for instance in facts.instances.values()
        if instance.build is not None and instance.id not in protected
    )


def model_target(facts: Facts) -> Target:
    """The newest model as a target: with a version only where the image reference itself changed."""
    wanted = facts.goal
    changed = any(model.reference != wanted.model.reference for model in _others(facts))
    target = wanted.target
    return target if changed else replace(target, version=None, image=None, os_type=None)


def version_only(facts: Facts) -> bool:
    """Whether the newest model differs from the running ones in the version only: a pin was set or removed."""
    wanted = facts.goal.model
    return all(
        model.rest == wanted.rest and model.reference.definition == wanted.reference.definition
        for model in _others(facts)
    )


def _others(facts: Facts) -> list[Revision]:
    """The models that instances run beside the newest one."""
    used = {i.build.model for i in facts.instances.values() if i.build is not None} - {facts.goal.model.name}
    return [facts.models[name] for name in sorted(used) if name in facts.models]


def judged_by(facts: Facts, model: str) -> str:
    """Hash of everything that a verdict depends on: the model without its image reference, and the policy's timeouts
    and limits. Editing any of it lifts a remembered failure; a pause or a pin does not.
    """
    policy = facts.policy
    known = facts.models.get(model)
    rolling = policy.rolling_upgrade_policy
    figures: tuple[object, ...] = (
        policy.health_timeout.total_seconds(),
        policy.ready_for(facts.health_source).total_seconds(),
        rolling.max_unhealthy_instance_percent,
        rolling.max_unhealthy_upgraded_instance_percent,
        known.rest if known is not None else model,
    )
    if policy.upgrade_timeout is not None:
        figures = (*figures, policy.upgrade_timeout.total_seconds())
    return _JUDGED + hashlib.sha256(repr(figures).encode()).hexdigest()[:10]


def remembered(facts: Facts, target: Target) -> FailedTarget | None:
    """Why the platform does not start a rollout to this target by itself."""
    rule = judged_by(facts, target.model)
    return next(
        (
            failed
            for failed in facts.state.failed_targets
            if _same_target(failed, target) and failed.policy in (rule, _of_old(facts, failed, target))
        ),
        None,
    )


def _of_old(facts: Facts, failed: FailedTarget, target: Target) -> str | None:
    """The rule of an entry from an operator before 1.1, if the entry still holds. It has the hash of the whole policy,
    which cannot be compared any more. It holds as long as the model differs in its image reference only.
    """
    if failed.policy.startswith(_JUDGED):
        return None
    then, now = facts.models.get(failed.model), facts.models.get(target.model)
    alike = failed.model == target.model or then is None or (now is not None and then.rest == now.rest)
    return failed.policy if alike else None


def _same_target(failed: FailedTarget, target: Target) -> bool:
    """Whether two targets are the same: of an image upgrade by version and image, of a model rollout by model."""
    if target.version is None or failed.version is None:
        return (failed.model, failed.version) == (target.model, target.version)
    return same(failed.version, target.version) and failed.image in (None, target.image)


def ended_as(reason: str) -> str:
    """What became of a remembered target, for sentences."""
    words = {CANCELLED: "was cancelled by the user", ROLLED_BACK: "was rolled back by the user"}
    return words.get(reason, "failed")


def failed_here(facts: Facts, build: Build, *, but: Collection[str] = ()) -> bool:
    """Whether the build's version is remembered as failed in this set. Entries for the reasons `but` do not count."""
    return any(
        same(failed.version, build.version) and failed.image in (None, build.image) and failed.reason not in but
        for failed in facts.state.failed_targets
    )


def ways_back(facts: Facts, rollout: Rollout) -> frozenset[int]:
    """Instances that may return to their previous build. Setting or removing a pin leaves a version on purpose, so no
    instance returns to a failed version then. A version that only the user judged may still be the one that works.
    """
    previous = facts.state.previous
    if not rollout.version_only:
        return frozenset(previous)
    return frozenset(n for n, build in previous.items() if not failed_here(facts, build, but=BY_USER))


def pass_closed_gate(facts: Facts, rollout: Rollout, candidates: Collection[Instance]) -> list[Instance]:
    """Candidates that may pass a closed gate while they are unhealthy. If unhealthy instances go first, these are all
    candidates. Otherwise these are the candidates on a version that failed here or whose run did not complete. So
    broken instances never keep out their own fix.
    """
    if facts.batch_rules(rollout).unhealthy_first:
        return list(candidates)
    return [i for i in candidates if i.build is not None and (failed_here(facts, i.build) or _unproven(facts, i.build))]


def _unproven(facts: Facts, build: Build) -> bool:
    """Whether the run that brought the version did not complete."""
    current = facts.state.current_version
    return current is not None and number(build.version) > number(current)


def remember(facts: Facts, rollout: Rollout, reason: str) -> State:
    """The state that remembers the target of a faulted or cancelled run. A restart says nothing about a target."""
    if not rollout.judges:
        return facts.state
    target = rollout.target
    rule = judged_by(facts, target.model)
    entry = FailedTarget(target.model, target.version, rule, reason, facts.now, target.image)
    others = [f for f in facts.state.failed_targets if not _same_target(f, target)]
    return replace(facts.state, failed_targets=(entry, *others)[:_REMEMBERED], retry=None)


def leave(facts: Facts) -> State:
    """The state that remembers what a pin to a lower version leaves: each higher version that an instance runs, or that
    the run went to which the pin has ended. What failed before keeps its reason.
    """
    goal, rule = facts.goal, judged_by(facts, facts.goal.model.name)
    pinned = number(goal.version or "0")
    left = [replace(goal.target, version=version, image=image) for version, image in _left(facts)]
    new = [t for t in left if t.version and number(t.version) > pinned and remembered(facts, t) is None]
    entries = (FailedTarget(t.model, t.version, rule, ROLLED_BACK, facts.now, t.image) for t in new)
    others = (f for f in facts.state.failed_targets if not any(_same_target(f, t) for t in new))
    return replace(facts.state, failed_targets=(*entries, *others)[:_REMEMBERED]) if new else facts.state


def _left(facts: Facts) -> list[tuple[str, str]]:
    """Version and image of what instances run, and of what an ended run went to; only of the same image definition."""
    definition, last = facts.goal.model.reference.definition, facts.state.rollout
    ran = {
        (build.version, build.image)
        for build in facts.state.builds.values()
        if build.model not in facts.models or facts.models[build.model].reference.definition == definition
    }
    superseded = last is not None and last.error is not None and last.error.code == SUPERSEDED
    if last is not None and superseded and last.target.version and last.target.image:
        ran.add((last.target.version, last.target.image))
    return sorted(ran, key=lambda each: number(each[0]), reverse=True)


def forget(facts: Facts, rollout: Rollout) -> State:
    """The state after a completed run, which proves its target."""
    kept = tuple(f for f in facts.state.failed_targets if not _same_target(f, rollout.target))
    return replace(facts.state, failed_targets=kept)


def try_later(facts: Facts, rollout: Rollout) -> State:
    """The state with a back-off for a target that is not to blame. A restart is not tried again."""
    if not rollout.judges:
        return facts.state
    target, retry = rollout.target, retry_for(facts, rollout.target)
    attempts = retry.attempts + 1 if retry is not None else 1
    return replace(facts.state, retry=Retry(target.model, target.version, attempts, facts.now))


def retry_for(facts: Facts, target: Target) -> Retry | None:
    """The back-off in force for that target."""
    retry = facts.state.retry
    mine = retry is not None and retry.model == target.model and same(retry.version, target.version)
    return retry if mine else None


def outdated(facts: Facts, rollout: Rollout) -> dict[int, Build]:
    """Instances that the rollout has to replace, with their new builds."""
    moves = behind(facts, rollout)
    return in_place.reachable(facts, moves) if rollout.policy.only_in_place else moves


def behind(facts: Facts, rollout: Rollout) -> dict[int, Build]:
    """Instances that the target of the rollout would change, with their new builds, whatever the policy allows."""
    if rollout.kind is Kind.RESTART:
        return _to_restart(facts, rollout)
    if rollout.kind is Kind.MODEL:
        return by_model(facts, rollout.target)
    moves = by_image(facts, rollout.target)
    return {**by_model(facts, rollout.target), **moves} if rollout.with_model else moves
