"""Max surge: a batch's new instances are created beside the old ones, which go when those are healthy (semantics
4.6).

The engine is the same: the new instances are the batch. What differs is here: which ids they get, that a failed one
is simply removed (the one that it was to replace still runs), and that the batch falls back to taking the old ones
down first when there is no room for more pods: a quota says so at once, the scheduler until the deadline, since nodes
may be added. Any other refusal would meet the next pod of an old one as well, so
it fails the new instance and leaves the old one alone. The number of healthy instances never drops below what it was.
Only for sets without claims: a data disk belongs to its instance.
"""

from dataclasses import replace
from itertools import count

from scaleset.planning import deadlines
from scaleset.planning.draft import Draft
from scaleset.planning.placement import place
from scaleset.planning.ranges import tell
from scaleset.planning.scaling import build_of, without
from scaleset.planning.state import NOBODY, Batch, Rollout, State, Waiting, dropped, moved

QUOTA = "exceeded quota"
"""Kubernetes' words for a pod that there is no room for."""
_LONGEST_NAME = 63


def ids(draft: Draft, rollout: Rollout, chosen: tuple[int, ...]) -> tuple[int, ...]:
    """Ids of the new instances; empty when not surging.

    For each of `chosen` it is a free one of its zone, the lowest above those before: in order of their ids the new ones
    then belong to the old ones, one for one. No surge where such an id would make a name too long for a host.
    """
    model = draft.models[rollout.target.model]
    if not rollout.policy.rolling.max_surge or rollout.without_surge or model.claim_names:
        return ()
    taken = set(draft.state.builds) | set(draft.snapshot.pods) | set(draft.snapshot.strangers)
    zones = len(draft.snapshot.spec.zones)
    new: list[int] = []
    for old in sorted(chosen):
        zone = place(old, zones=zones, update_domains=1).zone
        above = count(new[-1] + 1 if new else 0)
        new.append(next(n for n in above if n not in taken and place(n, zones=zones, update_domains=1).zone == zone))
    if len(draft.snapshot.owner.instance(new[-1])) > _LONGEST_NAME:
        return ()
    return tuple(new)


def keep_protected(draft: Draft) -> None:
    """Take back the new instances whose old ones were protected meanwhile: those stay."""
    rollout, protected = draft.running, draft.protected()
    if rollout.batch is None:
        return
    staying = protected & draft.state.builds.keys()  # Not one that was let go already.
    taken_back = frozenset(new for new, old in rollout.batch.pairs.items() if old in staying)
    if not taken_back:
        return
    draft.state = without(draft.state, taken_back)
    for number in taken_back:
        draft.instances.pop(number, None)


def fall_back(draft: Draft) -> None:
    """Take down the old ones of what there is no room for beside the others."""
    rollout = draft.running
    batch = rollout.batch
    if batch is None:
        return
    verifying = {new: old for new, old in batch.pairs.items() if new in rollout.verifying}
    unschedulable = {new: old for new, old in verifying.items() if _finds_no_node(draft, rollout, batch, new)}
    if unschedulable and not draft.need_fresh():
        return
    refused = {
        new: old
        for new, old in verifying.items()
        if new in unschedulable or (draft.instances[new].pod is None and QUOTA in (draft.refusal(new) or ""))
    }
    if not refused:
        return
    words = draft.refusal(min(refused)) or draft.instances[min(refused)].message
    olds = frozenset(refused.values()) & draft.state.builds.keys()
    recorded = draft.state.builds
    builds = {old: recorded[new] for new, old in refused.items() if old in olds}
    if builds:
        verdict = draft.need_admission_again(draft.dry_run(draft.models[rollout.target.model], builds))
        if verdict is None or not verdict.accepted:
            return
    previous = {old: recorded[old] for old in olds}
    state = without(draft.state, frozenset(refused))
    in_place = replace(
        batch,
        instances=(batch.instances - refused.keys()) | olds,
        surge=batch.surge - refused.keys(),
        replaces=batch.replaces - frozenset(refused.values()),
    )
    changed = replace(
        rollout,
        batch=in_place,
        in_progress=(rollout.in_progress - refused.keys()) | olds,
        without_surge=rollout.without_surge or bool(unschedulable),
    )
    draft.state = replace(moved(state, builds), rollout=changed, previous={**state.previous, **previous})
    for number in refused:
        del draft.instances[number]
    draft.look(olds)
    draft.tell(
        "SurgeRefused", f"No room for more instances, replacing {tell(olds)} without surge: {words}", warning=True
    )


def _finds_no_node(draft: Draft, rollout: Rollout, batch: Batch, number: int) -> bool:
    """Whether the scheduler has found no node for a new instance in all the time that it had."""
    pod = draft.instances[number].pod
    if pod is None or pod.deleting or not pod.unschedulable:
        return False
    due = deadlines.of_batch(draft, number, started=batch.started, timeout=rollout.policy.health_timeout)
    return due is not None and draft.now >= due


def leave(draft: Draft) -> bool:
    """Let go of the instances that are not needed any more; whether some of their pods are still to be deleted."""
    _keep_old_ones(draft)
    leaving = draft.running.leaving
    draft.state = dropped(draft.state, leaving)
    for number in leaving:
        draft.instances.pop(number, None)
    going = [n for n in sorted(leaving) if n in draft.snapshot.pods and not draft.snapshot.pods[n].deleting]
    if going:
        waiting = Waiting("BatchInProgress", f"Waiting for instances {tell(going)} to be deleted.")
        draft.update(replace(draft.running, waiting=deadlines.refused(draft, going) or waiting))
    return bool(going)


def _keep_old_ones(draft: Draft) -> None:
    """Keep old instances that are still there though their time to go has come: those whose successor has broken
    meanwhile, and those that the API server does not let go once the run is to end or twice the health timeout is over.
    They count as failed, and the new ones beside them go.
    """
    rollout, pods = draft.running, draft.snapshot.pods
    batch = rollout.batch
    if batch is None:
        return
    there = {
        new: old
        for new, old in batch.pairs.items()
        if old in rollout.leaving and old in pods and not pods[old].deleting
    }
    broken = {new: old for new, old in there.items() if new in draft.instances and draft.instances[new].bad}
    held = {new: old for new, old in there.items() if pods[old].uid in draft.snapshot.undeletable}
    due = batch.started + 2 * rollout.policy.health_timeout
    if held and rollout.ending is None and draft.now < due:
        draft.wake(due)
        held = {}
    kept = {**held, **broken}
    builds = {old: build for old in kept.values() if (build := build_of(draft, pods[old])) is not None}
    if not builds or not draft.need_fresh():
        return
    olds = frozenset(builds)
    news = frozenset(new for new, old in kept.items() if old in olds)
    messages = {
        old: draft.instances[new].message if new in broken else draft.snapshot.undeletable[pods[old].uid]
        for new, old in kept.items()
        if old in olds
    }
    state = without(draft.state, news)
    left = replace(_running(state), messages={**rollout.messages, **messages})
    if left.batch is not None:
        left = replace(left, batch=replace(left.batch, instances=(left.batch.instances - news) | olds))
    if rollout.ending is None or broken:
        unblamed = olds - frozenset(broken.values())
        left = replace(left, failed=left.failed | olds, never_ran=left.never_ran | unblamed)
    draft.state = replace(moved(state, builds), rollout=left)
    for number in news:
        draft.instances.pop(number, None)
    draft.look(olds)


def _running(state: State) -> Rollout:
    if state.rollout is None:
        raise LookupError("no rollout is running")
    return state.rollout


def finish(draft: Draft, batch: Batch) -> None:
    """A new instance that failed is gone, and counts as the failure of the one that it was to replace."""
    rollout = draft.running
    replaced = batch.pairs
    failed = {new: old for new, old in replaced.items() if new in rollout.failed}
    olds = frozenset(failed.values())
    back = olds if rollout.restores else NOBODY
    healthy = frozenset(old for old in back if old in draft.instances and draft.instances[old].healthy)
    counted = replace(
        rollout,
        failed=(rollout.failed - failed.keys()) | olds,
        restored=rollout.restored | healthy,
        restore_failed=rollout.restore_failed | (back - healthy),
        never_ran=frozenset(failed.get(number, number) for number in rollout.never_ran),
        messages={failed.get(number, number): text for number, text in rollout.messages.items()},
    )
    draft.state = without(replace(draft.state, rollout=counted), frozenset(failed))
