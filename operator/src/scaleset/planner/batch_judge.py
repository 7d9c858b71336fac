"""The running batch: which of its instances are decided, what the others wait for, and how the batch ends.

An instance is decided when it is healthy on its new build, or when it is still not healthy at its deadline
(`deadlines`). A failed one gets its previous build back within the same batch where the rollout restores, with a
deadline of its own, and stays failed. An instance whose old pod is still there at the deadline keeps that pod.
Instances are judged on fresh pods only.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from scaleset.planner import deadlines, in_place, outdated, surge
from scaleset.planner.facts import Facts, in_order
from scaleset.planner.health import healthy_since
from scaleset.planner.instances import Instance
from scaleset.planner.ranges import abridged
from scaleset.planner.state import Batch, Clock, Rollout, State, Waiting, moved
from scaleset.planner.step import Step


def judge(facts: Facts) -> Step:
    """Remove decided instances from `in_progress`: healthy, failed, restored or beyond restoring."""
    rollout = facts.running
    batch = rollout.batch
    if batch is None:
        return facts.step()
    verdicts = {number: _verdict(facts, rollout, batch, number) for number in sorted(rollout.in_progress)}
    healthy = {number for number, (healthy, _) in verdicts.items() if healthy}
    overdue = {number for number, (_, due) in verdicts.items() if due is not None and facts.now >= due}
    decided = healthy if healthy == rollout.in_progress else overdue
    if decided and not facts.fresh:
        return facts.need_fresh()
    recorded = facts.step()
    if decided:
        recorded = _record(facts, rollout, batch, healthy=decided & healthy, unhealthy=decided - healthy)
    return recorded.then(explain(facts.after(recorded), batch, healthy=healthy - decided))


def _verdict(facts: Facts, rollout: Rollout, batch: Batch, number: int) -> tuple[bool, float | None]:
    """Whether the instance is healthy on its new build, and its deadline."""
    timeout = rollout.policy.health_timeout
    started = batch.started
    if number in rollout.failed and batch.restore_started is not None:
        started = batch.restore_started
    deadline = deadlines.of_batch(facts, number, started=started, timeout=timeout)
    instance = facts.instances[number]
    pod, build = instance.pod, instance.build
    if pod is None or pod.deleting or build is None or not build.same_as(pod) or facts.restarted(number, pod):
        return False, deadline
    healthy = healthy_since(pod, by=facts.health_source)
    if healthy is None or deadline is None:
        return False, deadline
    stable = healthy + rollout.policy.min_ready_time
    if healthy > facts.now:  # Times of conditions are other people's: one that lies ahead moves no deadline for ever.
        return False, max(deadline, min(stable, deadline + rollout.policy.min_ready_time))
    return facts.now >= stable, max(deadline, stable)


def _record(facts: Facts, rollout: Rollout, batch: Batch, *, healthy: set[int], unhealthy: set[int]) -> Step:
    restored = healthy & rollout.failed
    failed = unhealthy - rollout.failed
    kept = {number for number in failed & facts.state.previous.keys() if facts.instances[number].on_old_pod}
    ways_back = outdated.ways_back(facts, rollout) - kept - batch.surge
    restoring = failed & ways_back if rollout.restores else set()
    messages = {**rollout.messages, **{number: facts.instances[number].message for number in failed}}
    updated = replace(
        rollout,
        successful=rollout.successful | (healthy - restored),
        failed=rollout.failed | failed,
        restored=rollout.restored | restored,
        restore_failed=rollout.restore_failed | (unhealthy & rollout.failed),
        never_ran=rollout.never_ran | {number for number in failed if not _ran(facts.instances[number])},
        in_progress=(rollout.in_progress - healthy - unhealthy) | restoring,
        messages=messages,
        batch=replace(batch, restore_started=facts.now) if restoring else batch,
        waiting=None,
    )
    late = {n for n in unhealthy & rollout.failed if facts.instances[n].untouched}
    state = _go_on_replacing(restore(replace(facts.state, rollout=updated), restoring | kept), batch, late)
    # Decide again: an instance that was never replaced runs its previous build already, so no event will follow.
    return facts.step(state, again=bool(restoring))


def _go_on_replacing(state: State, batch: Batch, ids: set[int]) -> State:
    """Instances that were not restored in time because the API server refuses to delete their pod get their previous
    build once the delete is allowed. No batch waits for them.
    """
    late = dict.fromkeys(ids, Clock(batch.restore_started))
    return replace(state, applying=state.applying | ids, clocks={**state.clocks, **late}) if ids else state


def _ran(instance: Instance) -> bool:
    """Whether the kubelet got as far as the new image."""
    return instance.pod is not None and not instance.on_old_pod and instance.pod.reached


def put_back(facts: Facts) -> Step:
    """Take instances out of the batch that keep their pod: instances that were protected, or cannot be changed in place
    any more, before their pod was touched and, once the run is to end, instances that cannot go on because of somebody
    else.
    """
    rollout = facts.running
    protected, ways_back = facts.protected, facts.state.previous.keys()
    back = {
        number
        for number in rollout.verifying & ways_back & facts.instances.keys()
        if (facts.instances[number].untouched and (number in protected or _forbidden(facts, number)))
        or (rollout.ending is not None and _stuck(facts, number))
    }
    if not back or rollout.batch is None:
        return facts.step()
    batch = replace(rollout.batch, instances=rollout.batch.instances - back)
    shrunk = replace(rollout, batch=batch, in_progress=rollout.in_progress - back)
    return facts.step(restore(replace(facts.state, rollout=shrunk), back))


def _forbidden(facts: Facts, number: int) -> bool:
    """Whether the pod would have to be made again, which the policy of the run forbids."""
    if not facts.only_in_place(number):
        return False
    return in_place.obstacle(facts, number, facts.state.builds[number]) is not None


def _stuck(facts: Facts, number: int) -> bool:
    """Whether an instance has no pod of the new build and may never get one: its delete or create is refused, or its
    old pod does not end in its grace period.
    """
    instance = facts.instances[number]
    pod = instance.pod
    if pod is None:
        return facts.refusal(number) is not None or number in facts.blocked
    if not instance.on_old_pod:
        return False
    if not pod.deleting:
        return instance.held or number in facts.blocked
    return deadlines.past_grace(facts, pod)


def restore(state: State, restoring: Iterable[int]) -> State:
    """Give those instances their previous build back."""
    back = {number: state.previous[number] for number in restoring}
    if not back:
        return state
    previous = {number: build for number, build in state.previous.items() if number not in back}
    return replace(moved(state, back), previous=previous)


def explain(facts: Facts, batch: Batch, *, healthy: Collection[int] = ()) -> Step:
    """Set the reason that the batch waits for. `healthy` are the instances of the batch that are ready already."""
    rollout = facts.running
    open_ids = rollout.in_progress.difference(healthy)
    if not open_ids:
        return facts.step()
    waiting = (
        deadlines.refused(facts, open_ids)
        or deadlines.terminating(facts, open_ids, said="Waiting for the pods of instances {} to end")
        or _ordinary(rollout, batch, open_ids)
    )
    return facts.roll(replace(rollout, waiting=waiting))


def _ordinary(rollout: Rollout, batch: Batch, open_ids: Collection[int]) -> Waiting:
    if rollout.restoring:
        return Waiting(
            "Restoring", f"Waiting for instances {abridged(open_ids)} to be restored to their previous build."
        )
    what = f"instances {abridged(open_ids)} of batch {batch.number} to become healthy"
    stay = f", and to stay so for {rollout.policy.min_ready_time:g} s" if rollout.policy.min_ready_time else ""
    return Waiting("BatchInProgress", f"Waiting for {what}, at most {rollout.policy.health_timeout:g} s each{stay}.")


def end_batch(facts: Facts) -> Step:
    """End the running batch once all its instances are decided and the pods that it lets go are terminating."""
    facts, step = in_order(facts, surge.keep_old_ones, surge.let_go)
    if step.needs or surge.still_there(facts):
        return step
    return step.then(_finish(facts) if facts.fresh else facts.need_fresh())


def _finish(facts: Facts) -> Step:
    """Add the event about the batch's end and begin the pause."""
    rollout = facts.running
    batch = rollout.batch
    if batch is None:
        return facts.step()
    pause, kept = rollout.policy.pause, rollout.may_go_back
    ended = replace(
        rollout,
        batch=None,
        batches_done=rollout.batches_done + 1,
        next_batch=facts.now + pause if pause else None,
        waiting=None,
    )
    previous = {n: b for n, b in facts.state.previous.items() if n in kept or _needs_previous(facts, n)}
    step = _add_batch_event(facts.step(), rollout, batch).to(replace(facts.state, rollout=ended, previous=previous))
    return step.then(surge.finish(facts.after(step), batch))


def _add_batch_event(step: Step, rollout: Rollout, batch: Batch) -> Step:
    mine = batch.instances & rollout.upgraded
    good, bad = mine & rollout.successful, mine & rollout.failed
    if rollout.error is None:
        text = f"Batch {batch.number} of {batch.of}: {len(good)} of {len(mine)} instances {rollout.done_to}"
        text += f", {len(bad)} failed ({abridged(bad)})." if bad else "."
        step = step.with_event("BatchCompleted", text, warning=bool(bad))
    if restored := mine & rollout.restored:
        text = f"Restored instances {abridged(restored)} to their previous build."
        step = step.with_event("InstanceRestored", text, warning=True)
    if lost := mine & rollout.restore_failed:
        text = f"Instances {abridged(lost)} are not healthy on their previous build either."
        step = step.with_event("InstanceRestoreFailed", text, warning=True)
    return step


def _needs_previous(facts: Facts, number: int) -> bool:
    """Until the pod exists, only the previous build shows which claims the instance had: new ones may not exist yet."""
    if number in facts.state.applying:
        return True
    return number in facts.instances and facts.instances[number].pod is None
