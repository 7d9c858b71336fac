"""The running batch: which of its instances are decided, what is still waited for, and its end (semantics 4.4).

An instance is decided when it is healthy on the build that it is to run, or when it is not at its deadline
(`deadlines`). A failed one gets its previous build back within the same batch where the rollout restores, with a
deadline of its own, and stays failed. One whose old pod is still there at its deadline keeps it. Nothing is judged but
on fresh pods.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from scaleset.planning import deadlines, outdated, surge
from scaleset.planning.draft import Draft
from scaleset.planning.health import healthy_since
from scaleset.planning.instances import Instance
from scaleset.planning.ranges import tell
from scaleset.planning.state import Batch, Clock, Rollout, State, Waiting, moved

TERMINATING = "PodsTerminating"


def settle(draft: Draft) -> None:
    """Take out of `in_progress` what is decided: healthy, failed, restored or beyond restoring."""
    surge.keep_protected(draft)
    surge.fall_back(draft)
    _put_back(draft)
    rollout = draft.running
    batch = rollout.batch
    if not rollout.in_progress or batch is None:
        return
    verdicts = {number: _verdict(draft, rollout, batch, number) for number in sorted(rollout.in_progress)}
    healthy = {number for number, (healthy, _) in verdicts.items() if healthy}
    overdue = {number for number, (_, due) in verdicts.items() if due is not None and draft.now >= due}
    if healthy == rollout.in_progress:
        decided = set(healthy)
    else:
        decided = overdue
        for number, (_, due) in verdicts.items():
            if number not in overdue:
                draft.wake(due)
    if decided and draft.need_fresh():
        _record(draft, rollout, batch, healthy=decided & healthy, unhealthy=decided - healthy)
    explain(draft, batch, healthy=healthy - decided)


def _verdict(draft: Draft, rollout: Rollout, batch: Batch, number: int) -> tuple[bool, float | None]:
    """Whether the instance is healthy on the build that it is to run, and when it must be."""
    timeout = rollout.policy.health_timeout
    started = batch.started
    if number in rollout.failed and batch.restore_started is not None:
        started = batch.restore_started
    deadline = deadlines.of_batch(draft, number, started=started, timeout=timeout)
    instance = draft.instances[number]
    pod, build = instance.pod, instance.build
    if pod is None or pod.deleting or build is None or not build.same_as(pod) or draft.restarted(number, pod):
        return False, deadline
    healthy = healthy_since(pod, by=draft.health_source)
    if healthy is None or deadline is None:
        return False, deadline
    stable = healthy + rollout.policy.min_ready_time
    draft.wake(stable if draft.now < stable else None)
    return draft.now >= stable, max(deadline, stable)


def _record(draft: Draft, rollout: Rollout, batch: Batch, *, healthy: set[int], unhealthy: set[int]) -> None:
    restored = healthy & rollout.failed
    failed = unhealthy - rollout.failed
    kept = {number for number in failed & draft.state.previous.keys() if draft.instances[number].on_old_pod}
    ways_back = outdated.ways_back(draft, rollout) - kept - batch.surge
    restoring = failed & ways_back if rollout.restores else set()
    messages = {**rollout.messages, **{number: draft.instances[number].message for number in failed}}
    updated = replace(
        rollout,
        successful=rollout.successful | (healthy - restored),
        failed=rollout.failed | failed,
        restored=rollout.restored | restored,
        restore_failed=rollout.restore_failed | (unhealthy & rollout.failed),
        never_ran=rollout.never_ran | {number for number in failed if not _ran(draft.instances[number])},
        in_progress=(rollout.in_progress - healthy - unhealthy) | restoring,
        messages=messages,
        batch=replace(batch, restore_started=draft.now) if restoring else batch,
        waiting=None,
    )
    draft.state = restore(replace(draft.state, rollout=updated), restoring | kept)
    _go_on_replacing(draft, batch, {n for n in unhealthy & rollout.failed if draft.instances[n].untouched})
    draft.look(sorted(restoring | kept))
    if restoring:
        draft.wake(draft.now)  # One that was never replaced has its previous build already: nothing will happen to it.


def _go_on_replacing(draft: Draft, batch: Batch, ids: set[int]) -> None:
    """Instances that could not be restored in time, since their pod may not be deleted, still get their previous build
    once it may: no batch waits for that.
    """
    if ids:
        late = dict.fromkeys(ids, Clock(batch.restore_started))
        state = draft.state
        draft.state = replace(state, applying=state.applying | ids, clocks={**state.clocks, **late})


def _ran(instance: Instance) -> bool:
    """Whether the kubelet got as far as the new image."""
    return instance.pod is not None and not instance.on_old_pod and instance.pod.reached


def _put_back(draft: Draft) -> None:
    """Take out of the batch instances that keep the pod they have, or would have waited for ever: those that were
    protected before their pod was touched, and once the run is to end, those that somebody keeps from going on.
    """
    rollout = draft.running
    protected, ways_back = draft.protected(), draft.state.previous.keys()
    back = {
        number
        for number in rollout.verifying & ways_back & draft.instances.keys()
        if (number in protected and draft.instances[number].untouched)
        or (rollout.ending is not None and _stuck(draft, number))
    }
    if not back or rollout.batch is None:
        return
    batch = replace(rollout.batch, instances=rollout.batch.instances - back)
    shrunk = replace(rollout, batch=batch, in_progress=rollout.in_progress - back)
    draft.state = restore(replace(draft.state, rollout=shrunk), back)
    draft.look(sorted(back))


def _stuck(draft: Draft, number: int) -> bool:
    """Whether an instance of a run that is to end waits for what may never happen, and has no pod of the new build: its
    delete or create is refused, or its old pod does not end in its grace period.
    """
    instance = draft.instances[number]
    pod = instance.pod
    if pod is None:
        return draft.refusal(number) is not None or number in draft.blocked
    if not instance.on_old_pod:
        return False
    if not pod.deleting:
        return instance.held or number in draft.blocked
    return deadlines.past_grace(draft, pod)


def restore(state: State, restoring: Iterable[int]) -> State:
    """Give those instances their previous build back."""
    back = {number: state.previous[number] for number in restoring}
    if not back:
        return state
    previous = {number: build for number, build in state.previous.items() if number not in back}
    return replace(moved(state, back), previous=previous)


def explain(draft: Draft, batch: Batch, *, healthy: Collection[int] = ()) -> None:
    """Say what the batch waits for; `healthy` are those of its instances that need not be waited for."""
    rollout = draft.running
    open_ids = rollout.in_progress.difference(healthy)
    if open_ids:
        waiting = (
            deadlines.refused(draft, open_ids) or _terminating(draft, open_ids) or _ordinary(rollout, batch, open_ids)
        )
        draft.update(replace(rollout, waiting=waiting))


def _terminating(draft: Draft, open_ids: Collection[int]) -> Waiting | None:
    """Pods that do not end in the time that they asked for themselves."""
    late = []
    for number in sorted(open_ids):
        pod = draft.instances[number].pod
        if pod is not None and pod.deleting and deadlines.past_grace(draft, pod, slack=deadlines.KILLING_SECONDS):
            late.append(number)
    if not late:
        return None
    return Waiting(
        TERMINATING,
        f"Waiting for the pods of instances {tell(late)} to end: their grace period is over. A pod on a lost node "
        "stays Terminating until the node is back, or is deleted or tainted out-of-service; a finalizer keeps a pod "
        "until its owner removes it.",
        stalls=True,
    )


def _ordinary(rollout: Rollout, batch: Batch, open_ids: Collection[int]) -> Waiting:
    if rollout.restoring:
        return Waiting("Restoring", f"Waiting for instances {tell(open_ids)} to be restored to their previous build.")
    what = f"instances {tell(open_ids)} of batch {batch.number} to become healthy"
    stay = f", and to stay so for {rollout.policy.min_ready_time:g} s" if rollout.policy.min_ready_time else ""
    return Waiting("BatchInProgress", f"Waiting for {what}, at most {rollout.policy.health_timeout:g} s each{stay}.")


def finish(draft: Draft, rollout: Rollout, batch: Batch) -> None:
    """End the batch, all of whose instances are decided: tell how it went and begin the pause."""
    mine = batch.instances & rollout.upgraded
    good, bad = mine & rollout.successful, mine & rollout.failed
    text = f"Batch {batch.number} of {batch.of}: {len(good)} of {len(mine)} instances upgraded"
    if bad:
        text += f", {len(bad)} failed ({tell(bad)})"
    if rollout.error is None:
        draft.tell("BatchCompleted", f"{text}.", warning=bool(bad))
    if restored := mine & rollout.restored:
        draft.tell("InstanceRestored", f"Restored instances {tell(restored)} to their previous build.", warning=True)
    if lost := mine & rollout.restore_failed:
        draft.tell(
            "InstanceRestoreFailed",
            f"Instances {tell(lost)} are not healthy on their previous build either.",
            warning=True,
        )
    pause = rollout.policy.pause
    draft.update(
        replace(
            rollout,
            batch=None,
            batches_done=rollout.batches_done + 1,
            next_batch=draft.now + pause if pause else None,
            waiting=None,
        )
    )
    kept = rollout.may_go_back
    draft.state = replace(
        draft.state,
        previous={n: b for n, b in draft.state.previous.items() if n in kept or _needs_previous(draft, n)},
    )
    surge.finish(draft, batch)


def _needs_previous(draft: Draft, number: int) -> bool:
    """Until its pod exists, what an instance ran before tells which claims it had: a new one may not exist yet."""
    if number in draft.state.applying:
        return True
    return number in draft.instances and draft.instances[number].pod is None
