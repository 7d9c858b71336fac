"""How fast scaling in takes instances (docs/behaviour.md, Instances).

A set shrinks by batches, as it is upgraded: at most `maxBatchInstancePercent` of the size that it comes from go at the
same time, at least one, or as many as `scaleInPolicy.maxConcurrent` says. The next ones go when the pods of those
before are gone and every instance that stays is healthy, so that a quorum follows. Nobody waits for ever:

| an instance that stays | is waited for |
|---|---|
| not healthy | until it has been so for the health timeout |
| terminating, because others deleted it | until the health timeout after its grace period |
| without a pod, which is about to be created | until it has one |
| without a pod, since the API server refuses it or it is blocked | until the health timeout after scaling in began |
| whatever they do, all together | for twice the health timeout |

A pod that has gone and does not end counts until the health timeout after its grace period. What has no pod takes
nothing away from anybody: it leaves at once (`scaling`) and counts in no batch.

Invariant: of the instances that scaling in has taken at most a batch is terminating.
"""

from collections.abc import Collection
from dataclasses import replace

from scaleset.planner import deadlines
from scaleset.planner.facts import Facts, in_order
from scaleset.planner.instances import Instance, Pod
from scaleset.planner.ranges import abridged
from scaleset.planner.scaling import to_go, without
from scaleset.planner.state import NOBODY, ScaleIn, Waiting, beside_each_other, extra
from scaleset.planner.step import Step

SCALING_IN = "ScalingIn"


def shrink(facts: Facts) -> Step:
    """Take the next instances of a set that is larger than wanted, if it is their time, and say what it waits for."""
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
    """Let the next batch go, or note since when it waits."""
    chosen = _next(facts, scale_in, going)
    if _waited_for(facts, scale_in, chosen):
        since = facts.now if scale_in.waiting is None else scale_in.waiting
        return facts.step(replace(facts.state, scale_in=replace(scale_in, waiting=since)))
    if not facts.fresh:
        return facts.need_fresh()
    gone = with_new_ones(facts, chosen)
    step = facts.step(replace(without(facts.state, gone), scale_in=replace(scale_in, waiting=None)))
    over = not leaving(facts.after(step)) and not all(_undeletable(facts, number) for number in chosen)
    return replace(step, again=over)  # Pods that do not end are waited for no more.


def _next(facts: Facts, scale_in: ScaleIn, going: Collection[int]) -> frozenset[int]:
    """The first ones; those that the API server does not let go come last, so that they hold up nobody."""
    policy, percent = facts.snapshot.spec.scale_in_policy, facts.policy.rolling_upgrade_policy
    limit = policy.limit(scale_in.size, percent=percent.max_batch_instance_percent)
    free = [number for number in going if not _undeletable(facts, number)]
    return frozenset((free or list(going))[:limit])


def with_new_ones(facts: Facts, olds: Collection[int]) -> frozenset[int]:
    """Those instances and the new ones that a surging batch has made to replace them."""
    return frozenset(olds).union(new for new, old in beside_each_other(facts.state).items() if old in olds)


def leaving(facts: Facts) -> frozenset[int]:
    """Instances that are no more and whose pods will end: one that does not end in its time is not waited for, nor one
    that the API server does not let go.
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
    """The instances that keep `chosen` from going, with the time until which they do; None where nobody knows."""
    gone = with_new_ones(facts, chosen)
    last = (facts.now if scale_in.waiting is None else scale_in.waiting) + 2 * facts.health_timeout
    found = {
        number: _until(facts, scale_in, instance)
        for number, instance in facts.instances.items()
        if number not in gone and not _settled(facts, instance)
    }
    return {number: due for number, due in found.items() if facts.now < (last if due is None else min(last, due))}


def _settled(facts: Facts, instance: Instance) -> bool:
    """Whether it is healthy and nobody is about to take its pod away."""
    return instance.healthy and not (instance.id in facts.in_hand and instance.on_old_pod)


def _until(facts: Facts, scale_in: ScaleIn, instance: Instance) -> float | None:
    pod, timeout = instance.pod, facts.health_timeout
    if pod is None:
        refused = instance.id in facts.blocked or facts.refusal(instance.id) is not None
        return scale_in.started + timeout if refused else None
    if pod.deleting:
        return deadlines.given_up(pod, timeout=timeout)
    since = _unhealthy_since(pod)
    return None if instance.healthy or since is None else since + timeout


def _unhealthy_since(pod: Pod) -> float | None:
    """Since when it is not Ready; None for one that is Ready and does not count as healthy all the same."""
    return None if pod.ready else max(pod.begun, pod.ready_since or pod.begun)


# --- what is said about it


def _explain(facts: Facts) -> Step:
    """Say how far it is and what it waits for."""
    scale_in = facts.state.scale_in
    if scale_in is None:
        return facts.step()
    going, still_there = to_go(facts), leaving(facts)
    counted = len(facts.state.builds) - extra(facts.state)
    waiting = _kept_alive(facts, going) or _terminating(facts, still_there)
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
    """Of those that are to go, and of those that were to go just now."""
    return deadlines.refused(facts, {n for n in facts.snapshot.pods if n in going or n not in facts.instances})


def _undeletable(facts: Facts, number: int) -> bool:
    pod = facts.snapshot.pods.get(number)
    return pod is not None and pod.uid in facts.snapshot.delete_errors


def _terminating(facts: Facts, still_there: Collection[int]) -> Waiting | None:
    """Pods that do not end in the time that they asked for themselves."""
    pods = facts.snapshot.pods
    slack = deadlines.KILLING_SECONDS
    late = [n for n in sorted(still_there) if pods[n].deleting and deadlines.past_grace(facts, pods[n], slack=slack)]
    if not late:
        return None
    return Waiting(
        "PodsTerminating",
        f"The pods of instances {abridged(late)} do not end: their grace period is over. A pod on a lost node stays "
        "Terminating until the node is back, or is deleted or tainted out-of-service; a finalizer keeps a pod until "
        "its owner removes it.",
        stalls=True,
    )
