"""One rolling upgrade, from its start to its end. One engine for image and model (docs/behaviour.md, Rolling upgrade).

A rollout moves by small steps, each written to the status before anything is done about it:

start -> [gate -> batch admitted -> every instance decided -> gate after the batch -> pause]* -> end

`BATCH` lists the parts that continue the running batch (`batch_judge`). Once the batch is over, the first of `PHASES`
that has something to do decides the next step: take back, end, wait or admit. `REASONS_TO_WAIT` has one function for
each reason not to admit a batch; a new reason is another function there. The health gate comes last, on a LIST taken
after all waiting. Nothing here deletes or creates: `pod_diff` compares the state with the pods.

Ordering rules, each covered by a test:
- a batch is admitted, and an instance judged at its deadline, only on fresh pods;
- no batch while one is in progress, after a breach, after a decision to end, or while an instance outside still
  starts;
- the state changes before the pods do.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from scaleset.planner import (
    batch_judge,
    batches,
    breach,
    deadlines,
    gallery,
    outdated,
    requests,
    rollout_end,
    run_deadline,
    shrinking,
    surge,
)
from scaleset.planner.facts import Facts, in_order
from scaleset.planner.instances import Build, Instance
from scaleset.planner.ranges import abridged
from scaleset.planner.state import NOBODY, Batch, Ending, Rollout, StartedBy, Waiting, moved
from scaleset.planner.step import Step

CONCURRENCY = "ConcurrencyLimit"


def begin(facts: Facts, rollout: Rollout) -> Step:
    """Put a new rollout into the state and advance it as far as possible."""
    pending = frozenset(outdated.outdated(facts, rollout))
    most = Counter((build.model, build.version) for n, build in facts.state.builds.items() if n in pending).most_common(
        1
    )
    model, version = most[0][0] if most else (None, None)
    rollout = replace(run_deadline.with_deadline(rollout), pending=pending, from_model=model, from_version=version)
    who = "the platform" if rollout.started_by is StartedBy.PLATFORM else "the user"
    text = f"{rollout.noun}{rollout.to} started by {who}."
    started = facts.roll(rollout).with_event("RolloutStarted", text)
    return started.then(advance(facts.after(started)))


def advance(facts: Facts) -> Step:
    """Advance the running rollout as far as possible now."""
    if facts.rollout is None:
        return facts.step()
    facts, step = in_order(facts, *BATCH)
    if facts.running.in_progress or facts.needs:
        return step
    if facts.running.batch is not None:
        ended = batch_judge.end_batch(facts)
        facts, step = facts.after(ended), step.then(ended)
        if facts.running.batch is not None:
            return step
    for phase in PHASES:
        if (found := phase(facts, facts.running)) is not None:
            return step.then(found)
    raise AssertionError("a running rollout always has something to do, or to wait for")


# --- the running batch


def join(facts: Facts) -> Step:
    """Set the pending instances: outdated instances that the run has not touched. Instances added or unprotected
    meanwhile join the run.
    """
    rollout = facts.running
    going = rollout.batch.replaces if rollout.batch is not None else NOBODY
    left = (
        outdated.outdated(facts, rollout).keys()
        - rollout.upgraded
        - rollout.in_progress
        - going
        - (facts.state.applying - deadlines.overdue(facts))
    )
    return facts.roll(replace(rollout, pending=frozenset(left))) if left != rollout.pending else facts.step()


def end_if_gone(facts: Facts) -> Step:
    """Decide to end a rollout whose target is superseded or withdrawn. The running batch finishes first."""
    rollout = facts.running
    if rollout.ending is not None:
        return facts.step()
    if _superseded(facts, rollout):
        ending = Ending(outdated.SUPERSEDED, f"Superseded by model {facts.goal.model.name}.")
    elif rollout.target.model not in facts.models:
        ending = Ending("Withdrawn", f"ControllerRevision {rollout.target.model}, the target model, is gone.")
    elif (why := _withdrawn(facts, rollout)) is not None:
        ending = Ending("Withdrawn", f"Version {rollout.target.version} was withdrawn: {why}.")
    else:
        return facts.step()
    return facts.roll(replace(rollout, ending=ending))


def _superseded(facts: Facts, rollout: Rollout) -> bool:
    """Whether there is a newer model. A restart leaves the model of each instance alone: in mode Manual it goes on,
    unless the user has asked for the new model.
    """
    if not facts.acceptance.accepted or facts.goal.model.name == rollout.target.model:
        return False
    return rollout.judges or facts.policy.mode != "Manual" or requests.model_rollout_asked(facts)


def _withdrawn(facts: Facts, rollout: Rollout) -> str | None:
    """Why the target may not be rolled out any more."""
    target = rollout.target
    if target.version is None:
        return None
    definition = facts.definition(facts.models[target.model])
    found = gallery.winners(facts.snapshot.catalogue).get((definition, gallery.number(target.version)))
    if found is None:
        return "its GalleryImageVersion was deleted"
    if target.reference != gallery.LATEST:
        return None
    return gallery.why_not(found, facts.asker, now=facts.now)


BATCH = (join, end_if_gone, surge.keep_protected, surge.fall_back, batch_judge.put_back, batch_judge.judge)
"""The parts that continue the running batch, in order."""


# --- between batches


def take_back(facts: Facts, rollout: Rollout) -> Step | None:
    """After a breach: restore the next batch of failed instances, or end."""
    return breach.go_on(facts, rollout, rollout.error) if rollout.error is not None else None


def gate_after_batch(facts: Facts, rollout: Rollout) -> Step | None:
    """The gate after a batch: end the run if too many of the upgraded instances are unhealthy."""
    found = breach.found(facts, rollout)
    if found is None:
        return None
    return breach.end(facts, rollout, found) if facts.fresh else facts.need_fresh()


def cancel(facts: Facts, rollout: Rollout) -> Step | None:
    """End a run that was cancelled, superseded or withdrawn."""
    if rollout.ending is None:
        return None
    return rollout_end.cancel(facts, rollout, rollout.ending) if facts.fresh else facts.need_fresh()


def complete(facts: Facts, rollout: Rollout) -> Step | None:
    """End a run without remaining instances."""
    if rollout.pending or replacing(facts, rollout) is not None:
        return None
    return rollout_end.complete(facts, rollout) if facts.fresh else facts.need_fresh()


def hold(facts: Facts, rollout: Rollout) -> Step | None:
    """Wait, if there is a reason to."""
    for reason in REASONS_TO_WAIT:
        if (waiting := reason(facts, rollout)) is not None:
            return facts.roll(replace(rollout, waiting=waiting))
    return None


def admit(facts: Facts, rollout: Rollout) -> Step | None:
    """Choose the next batch and give its instances the target build, if the health gate is open on fresh pods."""
    if not facts.fresh:
        return facts.need_fresh()
    rules = facts.batch_rules(rollout)
    gate = facts.gate(percent=rules.policy.max_unhealthy_instance_percent)
    candidates = [facts.instances[number] for number in sorted(rollout.pending)]
    broken = outdated.pass_closed_gate(facts, rollout, [i for i in candidates if i.bad])
    if gate.open:
        rules = replace(rules, first=frozenset(i.id for i in broken))
        chosen = batches.next_batch(candidates, unhealthy=gate.unhealthy, rules=rules)
    else:
        chosen = batches.only_broken(broken, rules=rules)
    if not chosen:
        return rollout_end.gate_closed(facts, rollout, gate)
    outdated_now = outdated.outdated(facts, rollout)
    moves = {number: outdated_now[number] for number in chosen}
    return _ask(facts, rollout, moves, surge.ids(facts, rollout, moves))


Phase = Callable[[Facts, Rollout], Step | None]
PHASES: tuple[Phase, ...] = (take_back, gate_after_batch, cancel, complete, run_deadline.end, hold, admit)
"""The phases between batches: the first one that has something to do decides."""


# --- reasons not to admit a batch


def halted(facts: Facts, what: str) -> Waiting | None:
    """The set is suspended, or its policy suspends all its sets: nothing of that name starts."""
    suspension = facts.snapshot.suspension
    if suspension is None:
        return None
    return Waiting("Suspended", f"{suspension.who}: no {what} starts until {suspension.field} is lifted.")


def suspended(facts: Facts, _: Rollout) -> Waiting | None:
    """A suspension between two batches."""
    return halted(facts, "batch")


def pausing(facts: Facts, rollout: Rollout) -> Waiting | None:
    """The pause between two batches."""
    if rollout.next_batch is None or facts.now >= rollout.next_batch:
        return None
    return Waiting("Pause", f"Pausing {rollout.policy.pause:g} s between batches.")


def not_accepted(facts: Facts, _: Rollout) -> Waiting | None:
    """The spec is refused meanwhile. A missing policy is no reason: the run keeps the policy that it started with."""
    acceptance = facts.acceptance
    if acceptance.accepted or acceptance.reason == "PolicyNotFound":
        return None
    return Waiting(acceptance.reason, acceptance.message)


def scaling_in(facts: Facts, _: Rollout) -> Waiting | None:
    """The pods that scaling in deletes are waited for: together with a batch, more than a batch would be down."""
    ids = shrinking.leaving(facts) if facts.state.scale_in is not None else NOBODY
    if not ids:
        return None
    text = f"Waiting for the pods of instances {abridged(ids)}, which were scaled in, to end."
    return Waiting(shrinking.SCALING_IN, text)


def replacing(facts: Facts, _: Rollout) -> Waiting | None:
    """Instances that are replaced at once are waited for: they are in no batch and join the rollout later."""
    ids = facts.state.applying - deadlines.overdue(facts)
    return Waiting("ApplyingModel", f"Instances {abridged(ids)} are being replaced at once.") if ids else None


def starting(facts: Facts, _: Rollout) -> Waiting | None:
    """Instances that are still starting are waited for: their health is not known yet. An instance that is created
    only after another one is not: the other one may be waiting for this rollout.
    """
    initializing = [i.id for i in facts.instances.values() if i.starting or _to_be_created(facts, i)]
    if not initializing:
        return None
    return Waiting(
        "InstancesInitializing", f"Waiting for instances {abridged(initializing)} to become healthy or unhealthy."
    )


def _to_be_created(facts: Facts, instance: Instance) -> bool:
    return (
        instance.pod is None
        and instance.queued_behind is None
        and facts.refusal(instance.id) is None
        and instance.id not in facts.blocked
    )


def not_our_turn(facts: Facts, rollout: Rollout) -> Waiting | None:
    """The concurrency limit of the policy is reached. The set that has waited longest is next; a run that has begun
    goes on.
    """
    limit, queue = facts.policy.max_concurrent_scale_sets, facts.snapshot.queue
    if rollout.started_rolling or limit is None or queue is None or queue.rolling + queue.ahead < limit:
        return None
    others = f"{queue.rolling} other ScaleSets of this policy are rolling and {queue.ahead} have waited longer"
    return Waiting(CONCURRENCY, f"{others}; {limit} may roll at a time.")


Reason = Callable[[Facts, Rollout], Waiting | None]
REASONS_TO_WAIT: tuple[Reason, ...] = (suspended, pausing, not_accepted, scaling_in, replacing, starting, not_our_turn)
"""Reasons to wait, in the order in which the status reports them."""


def queue(facts: Facts) -> Step:
    """Join the queue of `maxConcurrentScaleSets`, or leave it. A set is queued only while the concurrency limit is the
    one thing that stops it; a set that starts to wait for something else loses its place.
    """
    waiting = facts.obstacle
    queued = waiting is not None and waiting.reason == CONCURRENCY
    since = facts.state.waiting_since
    if queued == (since is not None):
        return facts.step()
    return facts.step(replace(facts.state, waiting_since=facts.now if queued else None))


# --- admitting a batch


def _ask(facts: Facts, rollout: Rollout, moves: Mapping[int, Build], extra: tuple[int, ...]) -> Step:
    """Dry-run everything that the batch needs before anything is deleted, then start it. If a quota has no room for new
    instances beside the old ones, the old ones go first.
    """
    new = _by_new_id(moves, extra)
    verdict = facts.admission(new)
    if verdict is None:
        return facts.need_admission(new)
    if verdict.accepted:
        return _start_batch(facts, rollout, moves, extra)
    if not (extra and verdict.quota):
        return rollout_end.refused(facts, rollout, verdict.message)
    text = f"No room for more instances, upgrading without surge: {verdict.message}"
    return facts.step().with_event("SurgeRefused", text, warning=True).then(_ask(facts, rollout, moves, ()))


def _by_new_id(builds: Mapping[int, Build], extra: tuple[int, ...]) -> dict[int, Build]:
    """The builds by the ids of the batch: those of the new instances if it surges, in order of the old ones."""
    olds = sorted(builds)
    return dict(zip(extra or olds, (builds[old] for old in olds), strict=True))


def _start_batch(facts: Facts, rollout: Rollout, moves: Mapping[int, Build], extra: tuple[int, ...]) -> Step:
    ids, state = frozenset(moves), facts.state
    left = [facts.instances[number] for number in rollout.pending - ids]
    number = rollout.batches_done + 1
    of = number + batches.batches_left(left, rules=facts.batch_rules(rollout))
    batch = Batch(number, of, frozenset(extra) or ids, facts.now)
    if extra:
        batch = replace(batch, surge=frozenset(extra), replaces=ids)
    previous = _by_new_id({old: state.builds[old] for old in ids}, extra) if rollout.restores or not extra else {}
    started = replace(
        rollout, batch=batch, in_progress=batch.instances, pending=rollout.pending - ids, next_batch=None, waiting=None
    )
    # Decide again: the deadline of an old pod that cannot be replaced may have passed, so no event will follow.
    held = any(facts.instances[old].held for old in ids if old in facts.instances)
    step = facts.step(
        replace(
            moved(state, _by_new_id(moves, extra)),
            rollout=started,
            previous={**state.previous, **previous},
            applying=state.applying - ids,
        ),
        again=held,
    )
    step = step.then(batch_judge.explain(facts.after(step), batch))
    what = f"replacing instances {abridged(ids)}"
    if extra:
        what = f"creating instances {abridged(batch.surge)} in place of {abridged(ids)}"
    return step.with_event("BatchStarted", f"Batch {batch.number} of {batch.of}: {what}.")
