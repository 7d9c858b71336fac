"""The gate after a batch, and which instances are restored when it is breached (docs/behaviour.md, Rolling upgrade).

The run ends as Faulted if more than `maxUnhealthyUpgradedInstancePercent` of the upgraded instances are failed or
unhealthy. The gate is judged at the end of each batch, before the next batch and at the end of the run. During a pause
it counts an instance only after the health timeout, since a moment without readiness is no verdict.

Before the run ends, instances get their previous build back, batch by batch. If the run restores (an image upgrade of
the platform), these are the instances that broke after their batch. If the policy rolls models back, these are the
failed instances. Nothing is taken back
- while too many instances that the run has not touched, on other builds, are unhealthy (the limit of the gate before a
  batch): that is an outage, not the version;
- after a restored batch in which no instance became healthy again: the version is not the cause.

An image that never ran on any failed instance is not to blame, and no image is to blame during an outage: then the run
is tried again after a back-off. Otherwise the target is remembered as failed.
"""

from dataclasses import dataclass, replace

from scaleset.planner import batch_judge, batches, gallery, gates, outdated, rollout_end
from scaleset.planner.facts import Facts
from scaleset.planner.health import healthy_since
from scaleset.planner.instances import Instance
from scaleset.planner.ranges import abridged
from scaleset.planner.state import NOBODY, Batch, Kind, Rollout, UpgradeError, Waiting
from scaleset.planner.step import Step
from scaleset.planner.targets import Target


@dataclass(frozen=True, slots=True)
class Breach:
    """Too many of the upgraded instances are unhealthy."""

    bad: frozenset[int]
    counted: frozenset[int]
    """The number of instances that `bad` is a part of."""
    outage: bool
    """Whether too many instances that the run has not touched are unhealthy as well."""


def found(facts: Facts, rollout: Rollout) -> Breach | None:
    """The breach that the known pods show, or None.

    A later run to a proven version, for instances that failed before, also counts the instances that already run the
    version: one bad node must not condemn it. Their own health does not breach the gate: instances that the run did not
    touch are judged by the gate before a batch.
    """
    upgraded, target = rollout.upgraded, rollout.target
    pausing = facts.last_batch is None and rollout.next_batch is not None and facts.now < rollout.next_batch
    bad = frozenset(n for n in upgraded if n in rollout.failed or _unhealthy(facts, rollout, n, pausing=pausing))
    state = facts.state
    current = gallery.same(target.version, state.current_version) and target.image == state.current_image
    proven = rollout.kind is Kind.IMAGE and current and state.proven is not None
    counted = upgraded.union(i.id for i in facts.instances.values() if proven and _runs(i, target))
    percent = rollout.policy.rolling.max_unhealthy_upgraded_instance_percent
    if not gates.after_batch(upgraded=counted, bad=bad, percent=percent):
        return None
    return Breach(bad, counted, _outage(facts, rollout))


def _unhealthy(facts: Facts, rollout: Rollout, number: int, *, pausing: bool) -> bool:
    instance = facts.instances.get(number)
    if instance is None or not instance.bad:
        return False
    if not pausing or instance.since is None:
        return True
    return facts.now >= instance.since + rollout.policy.health_timeout


def _outage(facts: Facts, rollout: Rollout) -> bool:
    """Whether too many instances that the run has not touched are unhealthy. Instances still to be created do not
    count.
    """
    target = rollout.target
    others = facts.instances.keys() - rollout.upgraded - rollout.in_progress
    untouched = [n for n in others if facts.instances[n].build is not None and not _runs(facts.instances[n], target)]
    down = [number for number in untouched if facts.instances[number].bad]
    percent = rollout.policy.rolling.max_unhealthy_instance_percent
    return bool(down) and gates.exceeds(len(down), len(untouched), percent)


def _runs(instance: Instance, target: Target) -> bool:
    """Whether an instance runs the run's target, however it got there."""
    build = instance.build
    if build is None:
        return False
    if target.version is None:
        return build.model == target.model
    return gallery.same(build.version, target.version) and not outdated.other_image(instance, build, target)


def end(facts: Facts, rollout: Rollout, breach: Breach) -> Step:
    """Decide that the run ends, and restore what can be restored."""
    error = rollout_end.upgraded_unhealthy(facts, rollout, breach.bad, counted=breach.counted)
    blameless = breach.outage or breach.bad <= rollout.never_ran
    if blameless:
        judged = facts.step(outdated.try_later(facts, rollout))
    else:
        judged = facts.step(outdated.remember(facts, rollout, rollout_end.UPGRADED))
    return judged.then(go_on(facts.after(judged), rollout, error))


def go_on(facts: Facts, rollout: Rollout, error: UpgradeError) -> Step:
    """Restore the next batch, or end the run."""
    back = _to_be_taken_back(facts, rollout)
    if back and not facts.fresh:
        return facts.need_fresh()
    if back and (left := _left_as_they_are(facts, rollout, back)):
        error, back = rollout_end.extended(error, left), NOBODY
    ends = rollout.ending is not None and rollout.ending.reason == outdated.CANCELLED
    if not back and not ends and (waiting := _watched(facts, rollout)) is not None:
        return facts.roll(replace(rollout, waiting=waiting))
    if not back or ends:
        return rollout_end.fault(facts, facts.state, rollout, error)
    return _take_back(facts, rollout, error, back)


def _left_as_they_are(facts: Facts, rollout: Rollout, back: frozenset[int]) -> str:
    """A sentence that says why nothing more is restored; empty if more is restored."""
    last = facts.last_batch if rollout.error is not None else None
    if not rollout.restores:
        return ""
    if last is not None and not last.instances & rollout.restored:
        return (
            f"None of instances {abridged(last.instances)} became healthy again on its previous build, so instances "
            f"{abridged(back)} were left as they are: look for another cause."
        )
    if not _outage(facts, rollout):
        return ""
    if last is not None:
        return (
            f"Instances outside the rollout are unhealthy as well by now, so instances {abridged(back)} were left as "
            "they are."
        )
    return "Instances outside the rollout are unhealthy as well, so no instance got its previous build back."


def _take_back(facts: Facts, rollout: Rollout, error: UpgradeError, back: frozenset[int]) -> Step:
    candidates = [facts.instances[n] for n in sorted(back)]
    ids = frozenset(batches.together(candidates, rules=facts.batch_rules(rollout)))
    batch = Batch(rollout.batches_done + 1, rollout.batches_done + 1, ids, facts.now, restore_started=facts.now)
    messages = {number: facts.instances[number].message for number in ids}
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
    # Decide again: the deadline of a pod that does not end has passed already, so no event will follow.
    taken = facts.step(batch_judge.restore(replace(facts.state, rollout=returning), ids), again=True)
    said = batch_judge.explain(facts.after(taken), batch)
    what = "build" if rollout.restores else "model"
    text = f"Returning failed instances {abridged(ids)} to their previous {what}."
    return taken.then(said).with_event("RollingBack", text, warning=True)


def _watched(facts: Facts, rollout: Rollout) -> Waiting | None:
    """If the version broke instances after their batch, the newest ones are watched as well: each until it has been
    healthy for the health timeout.
    """
    if rollout.error is None or not rollout.restores:
        return None
    young = []
    for number in sorted(rollout.successful & outdated.ways_back(facts, rollout) & facts.instances.keys()):
        pod = facts.instances[number].pod
        since = healthy_since(pod, by=facts.health_source) if pod is not None else None
        if since is not None and since <= facts.now < since + rollout.policy.health_timeout:
            young.append(number)
    if not young:
        return None
    return Waiting("Restoring", f"Watching instances {abridged(young)}, which may break like the ones before.")


def _to_be_taken_back(facts: Facts, rollout: Rollout) -> frozenset[int]:
    """Instances with a previous build to return to. An instance that was protected meanwhile stays as it is."""
    if rollout.restores:
        back = _broken_later(facts, rollout)
    else:
        back = rollout.failed if rollout.rolls_back_on_breach else NOBODY
    return (back & outdated.ways_back(facts, rollout)) - facts.protected


def _broken_later(facts: Facts, rollout: Rollout) -> frozenset[int]:
    """Upgraded instances that became healthy in their batch and lost their health since."""
    return frozenset(n for n in rollout.successful if n in facts.instances and facts.instances[n].bad)
