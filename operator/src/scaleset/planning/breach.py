"""The gate after a batch, and what is taken back when it is breached (semantics 4.4, 4.5).

More than `maxUnhealthyUpgradedInstancePercent` of the upgraded instances failed or unhealthy: the run ends as Faulted.
It is judged at the end of each batch, before the next one and at the end of the run, and during a pause once an
instance has been unhealthy for the health timeout, since a moment without readiness is no verdict.

Before the run ends, batch by batch, those that broke after their batch get their previous build back where the run
restores (an image upgrade of the platform), and those that failed where a policy takes models back. Nothing is taken
back
- while instances that the run has not touched, and that run something else, are unhealthy beyond the limit of the gate
  before a batch: an outage is not the version;
- after a batch of which no instance became healthy again: the version is not what is wrong.

An image that never ran on any of the failed instances is not to blame, nor is it in an outage: the run is tried again
by the back-off. Otherwise the target is remembered.
"""

from dataclasses import dataclass, replace

from scaleset.planning import batches, endings, gallery, gates, outdated, settling
from scaleset.planning.draft import Draft
from scaleset.planning.health import healthy_since
from scaleset.planning.instances import Instance
from scaleset.planning.ranges import tell
from scaleset.planning.state import NOBODY, Batch, Kind, Rollout, Target, UpgradeError, Waiting


@dataclass(frozen=True, slots=True)
class Breach:
    """Too many of the upgraded instances are unhealthy."""

    bad: frozenset[int]
    counted: frozenset[int]
    """What they are a part of."""
    outage: bool
    """Whether too much is unhealthy that the run has not touched, too."""


def found(draft: Draft, rollout: Rollout, *, batch_ended: bool) -> Breach | None:
    """The breach on the pods as they are known, if there is one; `batch_ended` is whether a batch ended just now.

    A run that comes back for instances which failed on a version that is proven by now counts those that already run
    it beside its own: one bad node must not condemn the version. Nor do they condemn it: what a run did not touch is
    the business of the gate before a batch.
    """
    upgraded, target = rollout.upgraded, rollout.target
    pausing = not batch_ended and rollout.next_batch is not None and draft.now < rollout.next_batch
    bad = frozenset(n for n in upgraded if n in rollout.failed or _unhealthy(draft, rollout, n, pausing=pausing))
    state = draft.state
    current = gallery.same(target.version, state.current_version) and target.image == state.current_image
    proven = rollout.kind is Kind.IMAGE and current and state.proven is not None
    counted = upgraded.union(i.id for i in draft.instances.values() if proven and _runs(i, target))
    percent = rollout.policy.rolling.max_unhealthy_upgraded_instance_percent
    if not gates.after_batch(upgraded=counted, bad=bad, percent=percent):
        return None
    return Breach(bad, counted, _outage(draft, rollout))


def _unhealthy(draft: Draft, rollout: Rollout, number: int, *, pausing: bool) -> bool:
    instance = draft.instances.get(number)
    if instance is None or not instance.bad:
        return False
    if not pausing or instance.since is None:
        return True
    at = instance.since + rollout.policy.health_timeout
    draft.wake(at if draft.now < at else None)
    return draft.now >= at


def _outage(draft: Draft, rollout: Rollout) -> bool:
    target = rollout.target
    others = draft.instances.keys() - rollout.upgraded - rollout.in_progress
    untouched = [n for n in others if not _runs(draft.instances[n], target)]
    down = [number for number in untouched if draft.instances[number].bad]
    percent = rollout.policy.rolling.max_unhealthy_instance_percent
    return bool(down) and gates.exceeds(len(down), len(untouched), percent)


def _runs(instance: Instance, target: Target) -> bool:
    """Whether an instance has what the run brings, from the run or not."""
    build = instance.build
    if build is None:
        return False
    if target.version is None:
        return build.model == target.model
    return gallery.same(build.version, target.version) and not outdated.other_image(instance, build, target)


def end(draft: Draft, rollout: Rollout, breach: Breach) -> None:
    """Decide that the run is over, and take back what there is to be taken back."""
    error = endings.upgraded_unhealthy(draft, rollout, breach.bad, counted=breach.counted)
    blameless = breach.outage or breach.bad <= rollout.never_ran
    if blameless:
        outdated.try_later(draft, rollout)
    else:
        outdated.remember(draft, rollout, endings.UPGRADED)
    go_on(draft, rollout, error, last=None)


def go_on(draft: Draft, rollout: Rollout, error: UpgradeError, *, last: Batch | None) -> None:
    """Take the next batch back, or end; `last` is the batch that was taken back just now."""
    back = _to_be_taken_back(draft, rollout)
    if back and not draft.need_fresh():
        return
    if back and rollout.restores and last is not None and not last.instances & rollout.restored:
        text = (
            f"None of instances {tell(last.instances)} became healthy again on its previous build, so instances "
            f"{tell(back)} were left as they are: look for another cause."
        )
        error, back = endings.extended(error, text), NOBODY
    elif back and rollout.restores and _outage(draft, rollout):
        text = "Instances that it had not touched are unhealthy, too, so nothing was taken back."
        if last is not None:
            text = (
                f"Instances that it had not touched are unhealthy by now, too, so {tell(back)} were left as they are."
            )
        error, back = endings.extended(error, text), NOBODY
    ends = rollout.ending is not None and rollout.ending.reason == outdated.CANCELLED
    if not back and not ends and (waiting := _watched(draft, rollout)) is not None:
        draft.update(replace(rollout, waiting=waiting))
        return
    if not back or ends:
        endings.fault(draft, rollout, error)
        return
    candidates = [draft.instances[n] for n in sorted(back)]
    ids = frozenset(batches.together(candidates, rules=draft.batch_rules(rollout)))
    batch = Batch(rollout.batches_done + 1, rollout.batches_done + 1, ids, draft.now, restore_started=draft.now)
    messages = {number: draft.instances[number].message for number in ids}
    returning = replace(
        rollout,
        batch=batch,
        in_progress=ids,
        successful=rollout.successful - ids,
        failed=rollout.failed | ids,
        messages={**messages, **rollout.messages},
        error=error,
        next_batch=None,
    )
    draft.state = settling.restore(replace(draft.state, rollout=returning), ids)
    draft.look(ids)
    settling.explain(draft, batch)
    draft.wake(draft.now)  # A pod that does not end has had its time already: nothing will happen to it.
    what = "build" if rollout.restores else "model"
    draft.tell("RollingBack", f"Returning failed instances {tell(ids)} to their previous {what}.", warning=True)


def _watched(draft: Draft, rollout: Rollout) -> Waiting | None:
    """Where a version broke after its batch, those that it has reached last are not believed yet: each is watched until
    it has been healthy for the health timeout.
    """
    if rollout.error is None or not rollout.restores:
        return None
    young = []
    for number in sorted(rollout.successful & outdated.ways_back(draft, rollout) & draft.instances.keys()):
        pod = draft.instances[number].pod
        since = healthy_since(pod, by=draft.health_source) if pod is not None else None
        if since is not None and draft.now < since + rollout.policy.health_timeout:
            draft.wake(since + rollout.policy.health_timeout)
            young.append(number)
    if not young:
        return None
    return Waiting("Restoring", f"Watching instances {tell(young)}, which may break as those before them did.")


def _to_be_taken_back(draft: Draft, rollout: Rollout) -> frozenset[int]:
    """Those with a way back that are not protected; one that was protected meanwhile stays as it is."""
    if rollout.restores:
        back = _broken_later(draft, rollout)
    else:
        back = rollout.failed if rollout.rolls_back_on_breach else NOBODY
    return (back & outdated.ways_back(draft, rollout)) - draft.protected()


def _broken_later(draft: Draft, rollout: Rollout) -> frozenset[int]:
    """Upgraded instances that became healthy in their batch and are not any more, where the run restores."""
    if not rollout.restores:
        return NOBODY
    return frozenset(n for n in rollout.successful if n in draft.instances and draft.instances[n].bad)
