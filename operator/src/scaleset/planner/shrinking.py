"""How fast scaling in takes instances (docs/behaviour.md, Instances).

A set shrinks in batches, as it is upgraded. A batch has at most `maxBatchInstancePercent` of the original size, and at
least one instance; `scaleInPolicy.maxConcurrent` overrides this, and `podManagementPolicy: OrderedReady` makes it one.
The next batch goes once the pods of the last one are gone and every remaining instance is healthy, so that a quorum
can follow. Every wait is bounded:

| an instance that stays | is waited for |
|---|---|
| not healthy | until it has been unhealthy for the health timeout |
| terminating, because others deleted it | until the health timeout after its grace period |
| without a pod, which is about to be created | until it has one |
| without a pod, since the API server refuses it or it is blocked | until the health timeout after scaling in began |
| in any state, all waits together | for twice the health timeout |

A deleted pod that does not end counts until the health timeout after its grace period. An instance without a pod leaves
at once (`scaling`) and counts in no batch.

Invariant: at most one batch of the instances removed by scaling in is terminating.
"""

from collections.abc import Collection
from dataclasses import replace

from scaleset.planner import deadlines
from scaleset.planner.facts import Facts, in_order
from scaleset.planner.health import OWN, changed, healthy_since
from scaleset.planner.instances import Instance, Pod
from scaleset.planner.ranges import abridged
from scaleset.planner.scaling import to_go, without
from scaleset.planner.state import NOBODY, ScaleIn, Waiting, beside_each_other, extra
from scaleset.planner.step import Step

SCALING_IN = "ScalingIn"


def shrink(facts: Facts) -> Step:
    """Remove the next surplus instances if they may go now, and report the reason to wait."""
    return in_order(facts, _go_on, _explain)[1]


def _go_on(facts: Facts) -> Step:
    scale_in = facts.state.scale_in
    if scale_in is None:
        return facts.step()
    still_there = leaving(facts)
    going: Collection[int] = NOBODY if facts.acceptance.refuses_all else to_go(facts)
    if going and not still_there:
        return _take(facts, scale_in, going)
    if scale_in.waiting is not None or not going:
        kept = replace(scale_in, waiting=None) if going or still_there else None
        return facts.step(replace(facts.state, scale_in=kept))
    return facts.step()


def _take(facts: Facts, scale_in: ScaleIn, going: Collection[int]) -> Step:
    """Remove the next batch, or record since when it waits."""
    chosen = _next(facts, scale_in, going)
    if _waited_for(facts, scale_in, chosen):
        since = facts.now if scale_in.waiting is None else scale_in.waiting
        return facts.step(replace(facts.state, scale_in=replace(scale_in, waiting=since)))
    if not facts.fresh:
        return facts.need_fresh()
    gone = with_new_ones(facts, chosen)
    step = facts.step(replace(without(facts.state, gone), scale_in=replace(scale_in, waiting=None)))
    over = not leaving(facts.after(step)) and not all(_undeletable(facts, number) for number in chosen)
    return replace(step, again=over)  # Pods that do not end are not waited for any more.


def _next(facts: Facts, scale_in: ScaleIn, going: Collection[int]) -> frozenset[int]:
    """The next batch. Instances whose delete is refused come last, so that they do not delay the others."""
    policy, percent = facts.snapshot.spec.scale_in_policy, facts.policy.rolling_upgrade_policy
    limit = policy.limit(scale_in.size, percent=percent.max_batch_instance_percent)
    if facts.snapshot.spec.ordered:
        limit = 1
    free = [number for number in going if not _undeletable(facts, number)]
    return frozenset((free or list(going))[:limit])


def with_new_ones(facts: Facts, olds: Collection[int]) -> frozenset[int]:
    """Those instances, and the new instances of a surging batch that replace them."""
    return frozenset(olds).union(new for new, old in beside_each_other(facts.state).items() if old in olds)


def leaving(facts: Facts) -> frozenset[int]:
    """Removed instances whose pods are expected to end. A pod that does not end in its time, or whose delete is
    refused, is not waited for.
    """
    left = set()
    for number, pod in facts.snapshot.pods.items():
        if number in facts.state.builds or pod.uid in facts.snapshot.delete_errors:
            continue
        if not pod.deleting:
            left |= set() if number in facts.instances else {number}
        elif facts.now < deadlines.given_up(pod, timeout=facts.health_timeout):
            left.add(number)
    return frozenset(left)


# --- the instances that stay


def _waited_for(facts: Facts, scale_in: ScaleIn, chosen: Collection[int]) -> dict[int, float | None]:
    """The instances that keep `chosen` from going, each with the time until which it does; None if that is unknown."""
    gone = with_new_ones(facts, chosen)
    last = (facts.now if scale_in.waiting is None else scale_in.waiting) + 2 * facts.health_timeout
    found = {
        number: _until(facts, scale_in, instance)
        for number, instance in facts.instances.items()
        if number not in gone and not _settled(facts, instance)
    }
    return {number: due for number, due in found.items() if facts.now < (last if due is None else min(last, due))}


def _settled(facts: Facts, instance: Instance) -> bool:
    """Whether the instance is healthy and its pod is not about to be deleted."""
    return instance.healthy and not (instance.id in facts.in_hand and instance.on_old_pod)


def _until(facts: Facts, scale_in: ScaleIn, instance: Instance) -> float | None:
    pod, timeout = instance.pod, facts.health_timeout
    if pod is None:
        refused = instance.id in facts.blocked or facts.refusal(instance.id) is not None
        return scale_in.started + timeout if refused else None
    if pod.deleting:
        return deadlines.given_up(pod, timeout=timeout)
    since = _unhealthy_since(facts, pod)
    return None if instance.healthy or since is None else since + timeout


def _unhealthy_since(facts: Facts, pod: Pod) -> float | None:
    """Since when the instance is not healthy; None if its health source says that it is, and it still does not count as
    healthy.
    """
    if not _well(facts, pod):
        return max(pod.begun, changed(pod, by=facts.health_source, now=facts.now))
    return None


def _well(facts: Facts, pod: Pod) -> bool:
    by = facts.health_source
    return pod.ready if by in OWN else healthy_since(pod, by=by) is not None


# --- how it is reported


def _explain(facts: Facts) -> Step:
    """Report the progress and the reason to wait."""
    scale_in = facts.state.scale_in
    if scale_in is None:
        return facts.step()
    going, still_there = to_go(facts), leaving(facts)
    counted = len(facts.state.builds) - extra(facts.state)
    waiting = _kept_alive(facts, going) or deadlines.terminating(
        facts, still_there, said="The pods of instances {} do not end"
    )
    if waiting is None:
        waited_for = _waited_for(facts, scale_in, _next(facts, scale_in, going)) if going else ()
        waiting = Waiting(
            SCALING_IN,
            f"Waiting for the pods of instances {abridged(still_there)} to end."
            if still_there
            else f"Waiting for instances {abridged(waited_for)} to become healthy."
            if waited_for
            else "",
        )
    left = f"{len(going)} of {counted} instances are to go." if going else "The last instances are going."
    said = replace(waiting, message=f"Scaling in: {left} {waiting.message}".rstrip())
    return replace(facts.step(), shrinking=said)


def _kept_alive(facts: Facts, going: Collection[int]) -> Waiting | None:
    """The API server's refusal to delete instances that are to go, or that scaling in has just removed."""
    return deadlines.refused(facts, {n for n in facts.snapshot.pods if n in going or n not in facts.instances})


def _undeletable(facts: Facts, number: int) -> bool:
    pod = facts.snapshot.pods.get(number)
    return pod is not None and pod.uid in facts.snapshot.delete_errors
