"""The running batch: which of its instances are decided, what is still waited for, and its end (semantics 4.4).

An instance is decided when it is healthy on the build that it is to run, or when it is not at its deadline. A failed
one gets its previous build back within the same batch where the rollout restores, with a deadline of its own, and
stays failed. Nothing is judged but on fresh pods.
"""

from collections.abc import Collection
from dataclasses import replace

from scaleset.planning import surge
from scaleset.planning.draft import Draft
from scaleset.planning.health import healthy_since
from scaleset.planning.ranges import render
from scaleset.planning.state import Batch, Rollout, State, Waiting


def settle(draft: Draft) -> None:
    """Take out of `in_progress` what is decided: healthy, failed, restored or beyond restoring."""
    surge.fall_back(draft)
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
    instance = draft.instances[number]
    pod, build = instance.pod, instance.build
    if pod is None or pod.deleting or build is None or not build.same_as(pod):
        if number not in draft.snapshot.refusals and number not in draft.blocked:
            return False, None
        restoring = number in rollout.failed and batch.restore_started is not None
        return False, ((batch.restore_started if restoring else None) or batch.started) + timeout
    deadline = pod.begun + timeout
    healthy = healthy_since(pod, by=draft.health_source)
    if healthy is None:
        return False, deadline
    stable = healthy + rollout.policy.min_ready_time
    draft.wake(stable if draft.now < stable else None)
    return draft.now >= stable, max(deadline, stable)


def _record(draft: Draft, rollout: Rollout, batch: Batch, *, healthy: set[int], unhealthy: set[int]) -> None:
    restored = healthy & rollout.failed
    failed = unhealthy - rollout.failed
    restoring = failed & draft.state.previous.keys() if rollout.restores else set()
    messages = {**rollout.messages, **{number: draft.instances[number].message for number in failed}}
    updated = replace(
        rollout,
        successful=rollout.successful | (healthy - restored),
        failed=rollout.failed | failed,
        restored=rollout.restored | restored,
        restore_failed=rollout.restore_failed | (unhealthy & rollout.failed),
        in_progress=(rollout.in_progress - healthy - unhealthy) | restoring,
        messages=messages,
        batch=replace(batch, restore_started=draft.now) if restoring else batch,
        waiting=None,
    )
    draft.state = restore(replace(draft.state, rollout=updated), restoring)
    draft.look(sorted(restoring))
    if restoring:
        draft.wake(draft.now)  # One that was never replaced has its previous build already: nothing will happen to it.


def restore(state: State, restoring: set[int]) -> State:
    """Give those instances their previous build back."""
    if not restoring:
        return state
    back = {number: state.previous[number] for number in restoring}
    previous = {number: build for number, build in state.previous.items() if number not in restoring}
    return replace(state, builds={**state.builds, **back}, previous=previous)


def explain(draft: Draft, batch: Batch, *, healthy: Collection[int] = ()) -> None:
    """Say what the batch waits for; `healthy` are those of its instances that need not be waited for."""
    rollout = draft.running
    open_ids = rollout.in_progress.difference(healthy)
    if not open_ids:
        return
    late = (batch.restore_started or batch.started) + rollout.policy.health_timeout
    going = [n for n in sorted(open_ids) if (pod := draft.instances[n].pod) is not None and pod.deleting]
    if going:
        draft.wake(late if draft.now < late else None)
    if going and draft.now >= late:
        waiting = Waiting(
            "PodsTerminating",
            f"Waiting for the pods of instances {render(going)} to end. A pod on a lost node stays Terminating until "
            "the node is back, or is deleted or tainted out-of-service.",
        )
    elif rollout.restoring:
        waiting = Waiting(
            "Restoring", f"Waiting for instances {render(open_ids)} to be restored to their previous build."
        )
    else:
        what = f"instances {render(open_ids)} of batch {batch.number} to become healthy"
        waiting = Waiting("BatchInProgress", f"Waiting for {what}, at most {rollout.policy.health_timeout:g} s each.")
    draft.update(replace(rollout, waiting=waiting))


def finish(draft: Draft, rollout: Rollout, batch: Batch) -> None:
    """End the batch, all of whose instances are decided: tell how it went and begin the pause."""
    mine = batch.instances & rollout.upgraded
    good, bad = mine & rollout.successful, mine & rollout.failed
    text = f"Batch {batch.number} of {batch.of}: {len(good)} of {len(mine)} instances upgraded"
    if bad:
        text += f", {len(bad)} failed ({render(bad)})"
    if rollout.error is None:
        draft.tell("BatchCompleted", f"{text}.", warning=bool(bad))
    if restored := mine & rollout.restored:
        draft.tell("InstanceRestored", f"Restored instances {render(restored)} to their previous build.", warning=True)
    if lost := mine & rollout.restore_failed:
        draft.tell(
            "InstanceRestoreFailed",
            f"Instances {render(lost)} are not healthy on their previous build either.",
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
    return number in draft.state.applying or draft.instances[number].pod is None
