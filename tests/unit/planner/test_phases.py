"""Each phase of a rollout and each reason to wait by itself: a function of the facts that changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from scaleset.planner import acceptance, decide, rollout
from scaleset.planner.facts import Facts, in_order
from scaleset.planner.instances import HealthState
from scaleset.planner.snapshot import QueuePosition
from scaleset.planner.state import NOBODY, Code, Ending, ScaleIn
from scaleset.planner.step import Step
from scaleset.planner.targets import Acceptance
from tests.simulation.scenes import running, under_way
from tests.simulation.world import World, policy

Change = Callable[[Facts], Facts]


def facts_of(world: World, *, fresh: bool = True, **changes: Any) -> Facts:
    """What the rollout is decided on."""
    parts = decide.PARTS[: decide.PARTS.index(rollout.advance)]
    accepted = acceptance.accept(decide.observed(world.snapshot(fresh=fresh, **changes)))
    return in_order(accepted.facts, *parts)[0]


def between_batches(facts: Facts, **changes: Any) -> Facts:
    """The running rollout, with its batch over."""
    over = replace(
        facts.running,
        batch=None,
        batches_done=1,
        in_progress=NOBODY,
        successful=facts.running.in_progress,
        waiting=None,
    )
    return facts.after(facts.roll(replace(over, **changes)))


def settled(**changes: Any) -> Facts:
    """Ten healthy instances, of which one was upgraded."""
    world = under_way(10)
    world.start = 1.0
    world.now += 5
    for number, pod in world.pods.items():
        world.pods[number] = replace(pod, ready=True, ready_since=world.now - 2, started=world.now - 4)
    return between_batches(facts_of(world), **changes)


def test_the_set_up_has_nothing_to_wait_for():
    facts = settled()
    assert all(instance.healthy for instance in facts.instances.values())
    assert not any(reason(facts, facts.running) for reason in rollout.REASONS_TO_WAIT)


def suspend(facts: Facts) -> Facts:
    spec = facts.snapshot.spec.model_copy(update={"suspend": True})
    return replace(facts, snapshot=replace(facts.snapshot, spec=spec))


def refuse(facts: Facts) -> Facts:
    return replace(facts, acceptance=Acceptance("InvalidSpec", "no"))


def scale_in(facts: Facts) -> Facts:
    """Instance 9 has been taken, and its pod is still there."""
    pods = dict(facts.snapshot.pods)
    pods[9] = replace(pods[9], deleting=True, deletion_due=facts.now + 30)
    builds = {number: build for number, build in facts.state.builds.items() if number != 9}
    state = replace(facts.state, builds=builds, replicas=9, scale_in=ScaleIn(10, facts.now))
    return replace(facts, snapshot=replace(facts.snapshot, pods=pods)).after(facts.step(state))


def apply_at_once(facts: Facts) -> Facts:
    return replace(facts, state=replace(facts.state, applying=frozenset({3})))


def let_one_start(facts: Facts) -> Facts:
    instance = replace(facts.instances[3], health=HealthState.INITIALIZING)
    return replace(facts, instances={**facts.instances, 3: instance})


def let_others_roll(facts: Facts) -> Facts:
    limited = policy(maxConcurrentScaleSets=1)
    crowded = replace(facts, policy=limited, snapshot=replace(facts.snapshot, queue=QueuePosition(1, 0)))
    return crowded.after(crowded.roll(replace(crowded.running, batches_done=0)))


def pause(facts: Facts) -> Facts:
    return facts.after(facts.roll(replace(facts.running, next_batch=facts.now + 10)))


REASONS: dict[str, tuple[rollout.Reason, Change, str, str]] = {
    "suspended": (
        rollout.suspended,
        suspend,
        "Suspended",
        "The set is suspended: no batch starts until spec.suspend is lifted.",
    ),
    "pausing": (rollout.pausing, pause, "Pause", "Pausing 0 s between batches."),
    "not accepted": (rollout.not_accepted, refuse, "InvalidSpec", "no"),
    "scaling in": (
        rollout.scaling_in,
        scale_in,
        "ScalingIn",
        "Waiting for the pods of instances 9, which were scaled in, to end.",
    ),
    "replacing": (
        rollout.replacing,
        apply_at_once,
        "ApplyingModel",
        "Instances 3 are being replaced at once.",
    ),
    "starting": (
        rollout.starting,
        let_one_start,
        "InstancesInitializing",
        "Waiting for instances 3 to become healthy or unhealthy.",
    ),
    "not our turn": (
        rollout.not_our_turn,
        let_others_roll,
        "ConcurrencyLimit",
        "1 other ScaleSets of this policy are rolling and 0 have waited longer; 1 may roll at a time.",
    ),
}


def test_every_reason_is_tested():
    assert {reason for reason, *_ in REASONS.values()} == set(rollout.REASONS_TO_WAIT)


@pytest.mark.parametrize("name", REASONS)
def test_a_reason_to_wait_by_itself(name: str):
    reason, change, code, sentence = REASONS[name]
    facts = change(settled())
    found = [(each, waiting) for each in rollout.REASONS_TO_WAIT if (waiting := each(facts, facts.running))]
    assert [(each, waiting.reason, waiting.message) for each, waiting in found] == [(reason, code, sentence)]
    step = rollout.hold(facts, facts.running)
    assert step is not None
    assert step.state.rollout is not None
    assert step.state.rollout.waiting == found[0][1]


def breach(facts: Facts) -> Facts:
    done = facts.running.successful
    return facts.after(facts.roll(replace(facts.running, successful=NOBODY, failed=done)))


def cancel(facts: Facts) -> Facts:
    return facts.after(facts.roll(replace(facts.running, ending=Ending("Cancelled", "Cancelled by the user."))))


def leave_nothing(facts: Facts) -> Facts:
    return facts.after(facts.roll(replace(facts.running, pending=NOBODY)))


def as_it_is(facts: Facts) -> Facts:
    return facts


PHASES: dict[str, tuple[rollout.Phase, Change, Code, str | None]] = {
    "gate after the batch": (rollout.gate_after_batch, breach, Code.FAULTED, "RolloutFaulted"),
    "cancel": (rollout.cancel, cancel, Code.CANCELLED, "RolloutCancelled"),
    "complete": (rollout.complete, leave_nothing, Code.COMPLETED, "RolloutCompleted"),
    "hold": (rollout.hold, suspend, Code.ROLLING_FORWARD, None),
}


@pytest.mark.parametrize("name", PHASES)
def test_a_phase_by_itself(name: str):
    phase, change, code, event = PHASES[name]
    facts = change(settled())
    found = first(facts)
    assert found is not None
    assert found[0] is phase
    assert found[1].state.rollout is not None
    assert found[1].state.rollout.code is code
    assert event in (*(each.reason for each in found[1].events), None)


def first(facts: Facts) -> tuple[rollout.Phase, Step] | None:
    """The first phase that has something to do."""
    found = ((phase, phase(facts, facts.running)) for phase in rollout.PHASES)
    return next(((phase, step) for phase, step in found if step is not None), None)


def test_with_no_reason_to_wait_the_next_batch_is_asked_for_and_admitted():
    facts = settled()
    phase, step = first(facts) or (None, facts.step())
    assert phase is rollout.admit
    asked = step.needs.admission
    assert asked is not None
    assert {newcomer.instance for newcomer in asked.batch} <= facts.running.pending


@pytest.mark.parametrize("change", [breach, cancel, leave_nothing, as_it_is])
def test_nothing_ends_and_no_batch_begins_on_pods_that_are_not_fresh(change: Change):
    facts = change(settled())
    stale = replace(facts, snapshot=replace(facts.snapshot, fresh=False))
    found = first(stale)
    assert found is not None
    assert found[1].needs.fresh
    assert found[1].state is stale.state


def test_facts_are_never_changed():
    """Whatever a part of a decision does, it gets the facts back as it got them."""
    facts = facts_of(under_way(10))
    before = repr(facts)
    for part in (*rollout.BATCH, *decide.PARTS):
        part(facts)
    assert repr(facts) == before


def test_without_a_rollout_there_is_nothing_to_advance():
    facts = facts_of(running(3))
    assert rollout.advance(facts) == facts.step()
