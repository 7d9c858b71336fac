"""Which instances are outdated, and what the platform remembers not to try again (semantics 4.1 and 4.7)."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from scaleset.planning.draft import Draft
from scaleset.planning.gallery import LATEST, number
from scaleset.planning.instances import Build, Instance
from scaleset.planning.models import Reference
from scaleset.planning.state import FailedTarget, Kind, Retry, Rollout, Target

_REMEMBERED = 50


def by_image(draft: Draft, target: Target) -> dict[int, Build]:
    """Unprotected instances of the target's definition that run a lower version, with the build they are taken to:
    never a downgrade, never another sku. Blocked ones are left alone.
    """
    goal = number(target.version or "0.0.0")
    definition = _reference(draft, target).definition
    return {
        i.id: target.build_for(build)
        for i, build in _replaceable(draft)
        if i.id not in draft.blocked
        and number(build.version) < goal
        and (build.model not in draft.models or draft.models[build.model].reference.definition == definition)
    }


def by_model(draft: Draft, target: Target) -> dict[int, Build]:
    """Unprotected instances that the newest model changes, with the build they are taken to. Blocked ones are left
    alone.
    """
    return {number: new for number, new in by_hand(draft, target).items() if number not in draft.blocked}


def by_hand(draft: Draft, target: Target) -> dict[int, Build]:
    """The same and Blocked ones: to give those the newest model may be what unblocks them."""
    moves = ((i.id, build, _with_model(draft, target, build)) for i, build in _replaceable(draft))
    return {number: new for number, build, new in moves if new != build}


def _with_model(draft: Draft, target: Target, build: Build) -> Build:
    """The version changes only where the image reference did, and goes down only to one that the user pinned."""
    kept = Build(target.model, build.version, build.image)
    model = draft.models.get(build.model)
    reference = _reference(draft, target)
    if target.version is None or (model is not None and model.reference == reference):
        return kept
    same = model is None or model.reference.definition == reference.definition
    if same and target.reference == LATEST and number(build.version) >= number(target.version):
        return kept
    return target.build_for(build)


def _reference(draft: Draft, target: Target) -> Reference:
    model = draft.models.get(target.model)
    if model is not None:
        return model.reference
    return Reference(target.publisher, target.offer, target.sku, target.reference)


def _replaceable(draft: Draft) -> Iterator[tuple[Instance, Build]]:
    protected = draft.protected()
    return (
        (instance, instance.build)
        for instance in draft.instances.values()
        if instance.build is not None and instance.id not in protected
    )


def model_target(draft: Draft) -> Target:
    """The newest model as a target: with a version only where the image reference itself changed."""
    wanted = draft.goal
    reference = wanted.model.reference
    used = {i.build.model for i in draft.instances.values() if i.build is not None} - {wanted.model.name}
    changed = any(draft.models[name].reference != reference for name in used if name in draft.models)
    target = wanted.target
    return target if changed else replace(target, version=None, image=None)


def policy_hash(draft: Draft) -> str:
    """Identifies the policy as it stands: editing it lifts what is remembered."""
    return hashlib.sha256(draft.policy.model_dump_json(by_alias=True, exclude_defaults=True).encode()).hexdigest()[:10]


def remembered(draft: Draft, target: Target) -> FailedTarget | None:
    """Why the platform does not start towards this target by itself."""
    policy = policy_hash(draft)
    return next(
        (
            failed
            for failed in draft.state.failed_targets
            if (failed.model, failed.version, failed.policy) == (target.model, target.version, policy)
        ),
        None,
    )


def remember(draft: Draft, rollout: Rollout, reason: str) -> None:
    """Keep the target of a run that faulted or that the user cancelled."""
    target = rollout.target
    entry = FailedTarget(target.model, target.version, policy_hash(draft), reason, draft.now)
    others = [f for f in draft.state.failed_targets if (f.model, f.version) != (entry.model, entry.version)]
    draft.state = replace(draft.state, failed_targets=(entry, *others)[:_REMEMBERED], retry=None)


def forget(draft: Draft, rollout: Rollout) -> None:
    """A completed run proves its target."""
    target = rollout.target
    kept = tuple(f for f in draft.state.failed_targets if (f.model, f.version) != (target.model, target.version))
    draft.state = replace(draft.state, failed_targets=kept)


def try_later(draft: Draft, rollout: Rollout) -> None:
    """Back off from a target that is not held to be bad."""
    target, retry = rollout.target, draft.state.retry
    again = retry is not None and (retry.model, retry.version) == (target.model, target.version)
    attempts = retry.attempts + 1 if again and retry is not None else 1
    draft.state = replace(draft.state, retry=Retry(target.model, target.version, attempts, draft.now))


def retry_for(draft: Draft, target: Target) -> Retry | None:
    """The back-off in force for that target."""
    retry = draft.state.retry
    return retry if retry is not None and (retry.model, retry.version) == (target.model, target.version) else None


def outdated(draft: Draft, kind: Kind, target: Target) -> dict[int, Build]:
    """Instances that a rollout of that kind to that target has to replace, with the build each is taken to."""
    return by_image(draft, target) if kind is Kind.IMAGE else by_model(draft, target)
