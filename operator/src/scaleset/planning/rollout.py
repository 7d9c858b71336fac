"""One rolling upgrade, from its start to its end. One engine for image and model (semantics 4).

A rollout moves by small steps, each written to the status before anything is done about it:

start -> [gate -> batch admitted -> every instance settled -> gate after the batch -> pause]* -> end

An instance of the batch is settled when it is healthy, or when it is not at its deadline. A failed one goes back to
its previous build within its own batch where the rollout restores, and stays failed. Nothing here deletes or creates:
`desired` compares what the state says with the pods.

Ordering rules, each of which a test must not let go:
- a batch is admitted, and an instance judged at its deadline, only on fresh pods;
- no batch while one is in progress, after a breach, after a decision to end, or while an instance outside still
  starts;
- the state changes before the pods do.
"""

from collections.abc import Mapping
from dataclasses import replace

from scaleset.planning import batches, breach, deadlines, endings, gallery, outdated, settling, shrinking, surge
from scaleset.planning.draft import Draft
from scaleset.planning.instances import Build, HealthState, Instance
from scaleset.planning.ranges import tell
from scaleset.planning.snapshot import Verdict
from scaleset.planning.state import NOBODY, Batch, Ending, Rollout, StartedBy, Waiting, moved


def advance(draft: Draft) -> None:
    """Carry the running rollout on as far as it can go now."""
    if draft.rollout is None:
        return
    _join(draft)
    _consider_ending(draft)
    settling.settle(draft)
    rollout = draft.running
    last = rollout.batch
    if rollout.in_progress or draft.needs:
        return
    if last is not None:
        if surge.leave(draft) or not draft.need_fresh():
            return
        settling.finish(draft, draft.running, last)
    _next(draft, last=last)


def _join(draft: Draft) -> None:
    """Pending are the outdated instances that the run has not touched: those added or unprotected meanwhile join it."""
    rollout = draft.running
    going = rollout.batch.replaces if rollout.batch is not None else NOBODY
    left = (
        outdated.outdated(draft, rollout).keys()
        - rollout.upgraded
        - rollout.in_progress
        - going
        - (draft.state.applying - deadlines.overdue(draft))
    )
    if left != rollout.pending:
        draft.update(replace(rollout, pending=frozenset(left)))


def _consider_ending(draft: Draft) -> None:
    rollout = draft.running
    if rollout.ending is not None:
        return
    newest = draft.wanted.model.name if draft.wanted is not None else None
    if draft.acceptance.accepted and newest != rollout.target.model:
        ending = Ending("Superseded", f"Superseded by model {newest}.")
    elif rollout.target.model not in draft.models:
        ending = Ending("Withdrawn", f"ControllerRevision {rollout.target.model}, the target model, is gone.")
    elif (why := _withdrawn(draft, rollout)) is not None:
        ending = Ending("Withdrawn", f"Version {rollout.target.version} was withdrawn: {why}.")
    else:
        return
    draft.update(replace(rollout, ending=ending))


def _withdrawn(draft: Draft, rollout: Rollout) -> str | None:
    """Why the target may not be rolled out any more."""
    target = rollout.target
    if target.version is None:
        return None
    definition = draft.definition(draft.models[target.model])
    found = gallery.winners(draft.snapshot.catalogue).get((definition, gallery.number(target.version)))
    if found is None:
        return "its GalleryImageVersion was deleted"
    if target.reference != gallery.LATEST:
        return None
    return gallery.why_not(found, draft.asker, now=draft.now)


# --- between batches


def _next(draft: Draft, *, last: Batch | None) -> None:
    """After a batch (`last`, if it ended just now): end, wait, or admit the next."""
    rollout = draft.running
    if rollout.error is not None:
        breach.go_on(draft, rollout, rollout.error, last=last)
        return
    found = breach.found(draft, rollout, batch_ended=last is not None)
    if found is not None:
        if draft.need_fresh():
            breach.end(draft, rollout, found)
    elif rollout.ending is not None:
        if draft.need_fresh():
            endings.cancel(draft, rollout, rollout.ending)
    elif not rollout.pending and not draft.state.applying - deadlines.overdue(draft):
        if draft.need_fresh():
            endings.complete(draft, rollout)
    else:
        waiting = _hold(draft, rollout)
        if waiting is None:
            _admit(draft, rollout)
        else:
            draft.update(replace(rollout, waiting=waiting))


def _hold(draft: Draft, rollout: Rollout) -> Waiting | None:
    """Why no batch is admitted now, apart from the gate."""
    if draft.snapshot.spec.suspend:
        return Waiting("Suspended", "The set is suspended: no batch starts until spec.suspend is lifted.")
    if rollout.next_batch is not None and draft.now < rollout.next_batch:
        draft.wake(rollout.next_batch)
        return Waiting("Pause", f"Pausing {rollout.policy.pause:g} s between batches.")
    if not draft.acceptance.accepted and draft.acceptance.reason != "PolicyNotFound":
        return Waiting(draft.acceptance.reason, draft.acceptance.message)
    held = leaving(draft) or replacing(draft) or starting(draft)
    return held or (None if rollout.started_rolling else not_our_turn(draft))


CONCURRENCY = "ConcurrencyLimit"


def not_our_turn(draft: Draft) -> Waiting | None:
    """The policy lets only so many sets roll at once; the one that has waited longest is next."""
    limit, turn = draft.policy.max_concurrent_scale_sets, draft.snapshot.turn
    if limit is None or turn is None or turn.rolling + turn.ahead < limit:
        return None
    if draft.state.waiting_since is None:
        draft.state = replace(draft.state, waiting_since=draft.now)
    others = f"{turn.rolling} other ScaleSets of this policy are rolling and {turn.ahead} have waited longer"
    return Waiting(CONCURRENCY, f"{others}; {limit} may roll at a time.")


def leave_queue(draft: Draft) -> None:
    """Only who could start but for its turn waits for it: whoever waits for something else, or for nothing any more,
    would hold the place of those behind.
    """
    waiting = draft.rollout.waiting if draft.rollout is not None else draft.waiting
    if draft.state.waiting_since is not None and (waiting is None or waiting.reason != CONCURRENCY):
        draft.state = replace(draft.state, waiting_since=None)


def leaving(draft: Draft) -> Waiting | None:
    """What scaling in has taken is waited for: a batch beside it would take down more than a batch."""
    ids = shrinking.leaving(draft) if draft.state.scale_in is not None else NOBODY
    if not ids:
        return None
    text = f"Waiting for the pods of instances {tell(ids)}, which were scaled in, to end."
    return Waiting(shrinking.SCALING_IN, text)


def replacing(draft: Draft) -> Waiting | None:
    """Instances that are replaced at once are waited for: they are in no batch, and join the rollout after it."""
    ids = draft.state.applying - deadlines.overdue(draft)
    return Waiting("ApplyingModel", f"Instances {tell(ids)} are being replaced at once.") if ids else None


def starting(draft: Draft) -> Waiting | None:
    """Instances that are still starting are waited for: nobody knows yet whether they are healthy."""
    initializing = [
        i.id for i in draft.instances.values() if i.health is HealthState.INITIALIZING or _to_be_created(draft, i)
    ]
    if not initializing:
        return None
    return Waiting(
        "InstancesInitializing", f"Waiting for instances {tell(initializing)} to become healthy or unhealthy."
    )


def _to_be_created(draft: Draft, instance: Instance) -> bool:
    return instance.pod is None and draft.refusal(instance.id) is None and instance.id not in draft.blocked


def _admit(draft: Draft, rollout: Rollout) -> None:
    """Choose the next batch and give its instances the target build, if the gate is open on fresh pods."""
    if not draft.need_fresh():
        return
    rules = draft.batch_rules(rollout)
    gate = draft.gate(percent=rules.policy.max_unhealthy_instance_percent)
    candidates = [draft.instances[number] for number in sorted(rollout.pending)]
    broken = outdated.pass_closed_gate(draft, rollout, [i for i in candidates if i.bad])
    if gate.open:
        rules = replace(rules, first=frozenset(i.id for i in broken))
        chosen = batches.next_batch(candidates, unhealthy=gate.unhealthy, rules=rules)
    else:
        chosen = batches.only_broken(broken, rules=rules)
    if not chosen:
        endings.gate_closed(draft, rollout, gate)
        return
    moves = outdated.outdated(draft, rollout)
    in_place = {number: moves[number] for number in chosen}
    extra = surge.ids(draft, rollout, chosen)
    surging = dict(zip(extra, (moves[old] for old in sorted(chosen)), strict=True)) if extra else {}
    verdict = _ask(draft, rollout, surging or in_place)
    if verdict is not None and extra and verdict.quota:
        draft.tell(
            "SurgeRefused", f"No room for more instances, upgrading without surge: {verdict.message}", warning=True
        )
        extra, verdict = (), _ask(draft, rollout, in_place)
    if verdict is None:
        return
    if verdict.accepted:
        _start_batch(draft, rollout, in_place, extra)
    else:
        endings.refused(draft, rollout, verdict.message)


def _ask(draft: Draft, rollout: Rollout, moves: Mapping[int, Build]) -> Verdict | None:
    """Would the API server take what those instances need to run these builds? None while it is being asked."""
    return draft.need_admission(draft.dry_run(draft.models[rollout.target.model], moves))


def _start_batch(draft: Draft, rollout: Rollout, moves: Mapping[int, Build], extra: tuple[int, ...]) -> None:
    ids = frozenset(moves)
    left = [draft.instances[number] for number in rollout.pending - ids]
    number = rollout.batches_done + 1
    of = number + batches.batches_left(left, rules=draft.batch_rules(rollout))
    batch = Batch(number, of, frozenset(extra) or ids, draft.now)
    if extra:
        batch = replace(batch, surge=frozenset(extra), replaces=ids)
    state = draft.state
    target = dict(zip(sorted(batch.instances), (moves[old] for old in sorted(moves)), strict=True))
    previous = dict(zip(sorted(batch.instances), (state.builds[old] for old in sorted(moves)), strict=True))
    if extra and not rollout.restores:
        previous = {}
    started = replace(
        rollout, batch=batch, in_progress=batch.instances, pending=rollout.pending - ids, next_batch=None, waiting=None
    )
    draft.state = replace(
        moved(state, target),
        rollout=started,
        previous={**state.previous, **previous},
        applying=state.applying - ids,
        waiting_since=None,
    )
    held = any(draft.instances[old].held for old in ids if old in draft.instances)
    draft.look(batch.instances)
    settling.explain(draft, batch)
    draft.wake(draft.now if held else None)  # It may have had its time already: then nothing will happen to it.
    what = (
        f"creating instances {tell(batch.surge)} in place of {tell(ids)}"
        if extra
        else f"replacing instances {tell(ids)}"
    )
    draft.tell("BatchStarted", f"Batch {batch.number} of {batch.of}: {what}.")


def begin(draft: Draft, rollout: Rollout) -> None:
    """Put a new rollout into the state and go as far as it can."""
    draft.update(replace(rollout, pending=frozenset(outdated.outdated(draft, rollout))))
    what = f"version {rollout.target.version}" if rollout.target.version else f"model {rollout.target.model}"
    who = "the platform" if rollout.started_by is StartedBy.PLATFORM else "the user"
    draft.tell("RolloutStarted", f"Rolling upgrade to {what} started by {who}.")
    advance(draft)
