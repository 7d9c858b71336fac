"""Rollouts that the user asks for by annotation (docs/behaviour.md, Rolling upgrade).

They run in every mode, through batches and gates. What the policy would not start by itself they start: a version that
failed, a model in mode Manual, the same builds once more. A refused start creates no rollout.

One request is carried out per decision, so that the status has the result of each. The others find its rollout
running, and are refused. A rollout that is about to end is waited for: an edit of the spec ends the running rollout,
and the request that came with the edit begins after it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from scaleset.api import names
from scaleset.planner import in_place, outdated, requests
from scaleset.planner.facts import Facts
from scaleset.planner.requests import Request
from scaleset.planner.rollout import begin
from scaleset.planner.state import Kind, Policy, Rollout, StartedBy, Waiting
from scaleset.planner.step import Step
from scaleset.planner.targets import Target

NOTHING_TO_UPGRADE = (
    "The OS Rolling Upgrade API cannot be used on a ScaleSet unless it has some unprotected instances which have "
    "imageReference.version set to latest."
)
ALL_PROTECTED = "All instances are protected. Remove the protection of some and ask again."
NOT_PINNED = "spec.imageReference.version is latest. Set it to the version to go back to, and ask again."


def start(facts: Facts) -> Step:
    """Carry out the first new request: start its rollout, or add an event with the reason against it."""
    if facts.needs:
        return facts.step()
    asked = [each for each in STARTS if requests.new(facts, each.request) is not None and not _waits(facts, each)]
    if not asked:
        return facts.step()
    step = _carry_out(facts, asked[0])
    return replace(step, again=step.again or len(asked) > 1)


def rollout(facts: Facts, kind: Kind, by: StartedBy, target: Target) -> Rollout:
    """A new rollout under the present policy."""
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


def model_rollout(facts: Facts, by: StartedBy) -> Rollout:
    """A rollout to the newest model."""
    target = outdated.model_target(facts)
    only = target.version is not None and outdated.version_only(facts)
    return replace(rollout(facts, Kind.MODEL, by, target), version_only=only)


@dataclass(frozen=True, slots=True)
class _Start:
    """A request for a rollout."""

    request: Request
    refusal: Callable[[Facts], str | None]
    """Why it cannot be carried out, after the reasons that hold for every start."""
    rollout: Callable[[Facts], Rollout]
    patient: bool = True
    """Whether it waits for the end of a rollout that is about to end."""
    leaves: bool = False
    """Whether it condemns the versions that it leaves."""


def _waits(facts: Facts, start: _Start) -> bool:
    return start.patient and facts.rollout is not None and facts.rollout.ending is not None


def _carry_out(facts: Facts, start: _Start) -> Step:
    value = facts.snapshot.annotations[start.request.annotation]
    step = facts.step(requests.handled(facts, start.request, value))
    if start.leaves and _pinned(facts):
        step = step.to(outdated.leave(facts.after(step)))
    facts = facts.after(step)
    if (why := _refusal(facts) or start.refusal(facts) or _not_in_place(facts, start)) is None:
        return step.then(begin(facts, start.rollout(facts)))
    text = why if start.request is requests.START else f"{start.request.annotation}: {why}"
    return replace(step.with_event("StartRefused", text, warning=True), waiting=Waiting("StartRefused", text))


def _pinned(facts: Facts) -> bool:
    return facts.acceptance.accepted and not facts.goal.model.reference.moving


def _refusal(facts: Facts) -> str | None:
    """Why no rollout can be started by hand."""
    if facts.rollout is not None:
        return f"{facts.rollout.noun} {facts.rollout.id} is running. Wait for its end, or cancel it."
    if not facts.acceptance.accepted:
        return facts.acceptance.message
    suspension = facts.snapshot.suspension
    if suspension is not None:
        return f"{suspension.who}. Set {suspension.field} to false and ask again."
    return None


def _not_in_place(facts: Facts, start: _Start) -> str | None:
    """Whether no instance can be reached in the way that the policy allows."""
    if not facts.policy.only_in_place:
        return None
    rollout = start.rollout(facts)
    forbidden = None if outdated.outdated(facts, rollout) else in_place.refusal(facts, outdated.behind(facts, rollout))
    return forbidden.message if forbidden is not None else None


def _all_protected(facts: Facts) -> str | None:
    protected = facts.protected
    nobody = bool(facts.instances) and all(number in protected for number in facts.instances)
    return ALL_PROTECTED if nobody else None


def _nothing_to_upgrade(facts: Facts) -> str | None:
    moving = facts.goal.model.reference.moving
    return NOTHING_TO_UPGRADE if _all_protected(facts) is not None or not moving else None


def _not_to_latest(facts: Facts) -> str | None:
    """An unpinned set is not taken to a version that failed: nobody named it."""
    target = outdated.model_target(facts)
    if target.version is None or not facts.goal.model.reference.moving:
        return _all_protected(facts)
    failed = outdated.remembered(facts, target)
    if failed is None:
        return _all_protected(facts)
    return (
        f"latest means version {target.version}, which {outdated.ended_as(failed.reason)}. Pin another version, or ask "
        f"for a retry first with annotation {names.ANNOTATION_RETRY}."
    )


def _not_back(facts: Facts) -> str | None:
    return _all_protected(facts) if _pinned(facts) else NOT_PINNED


def _to_model(facts: Facts) -> Rollout:
    return model_rollout(facts, StartedBy.USER)


def _to_image(facts: Facts) -> Rollout:
    return rollout(facts, Kind.IMAGE, StartedBy.USER, facts.goal.target)


def _again(facts: Facts) -> Rollout:
    return rollout(
        facts, Kind.RESTART, StartedBy.USER, replace(facts.goal.target, version=None, image=None, os_type=None)
    )


STARTS = (
    _Start(requests.ROLLBACK, _not_back, _to_model, leaves=True),
    _Start(requests.MODEL_ROLLOUT, _not_to_latest, _to_model),
    _Start(requests.START, _nothing_to_upgrade, _to_image, patient=False),
    _Start(requests.RESTART, _all_protected, _again),
)
"""The requests for a rollout, in the order in which they are carried out."""
