"""How fast scaling in takes instances (semantics 2).

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

from scaleset.planning import deadlines
from scaleset.planning.draft import Draft
from scaleset.planning.instances import Instance, Pod
from scaleset.planning.ranges import tell
from scaleset.planning.scaling import beside_each_other, extra, to_go, without
from scaleset.planning.state import NOBODY, ScaleIn, Waiting

SCALING_IN = "ScalingIn"


def shrink(draft: Draft) -> None:
    """Take the next instances of a set that is larger than wanted, if it is their time."""
    scale_in = draft.state.scale_in
    if scale_in is None:
        return
    still_there = leaving(draft)
    going: Collection[int] = NOBODY if draft.acceptance.refuses_all else to_go(draft)
    if going and not still_there:
        _take(draft, scale_in, going)
    elif scale_in.waiting is not None or not going:
        kept = replace(scale_in, waiting=None) if going or still_there else None
        draft.state = replace(draft.state, scale_in=kept)
    explain(draft)


def _take(draft: Draft, scale_in: ScaleIn, going: Collection[int]) -> None:
    """Let the next batch go, or note since when it waits."""
    chosen = _next(draft, scale_in, going)
    if _waited_for(draft, scale_in, chosen):
        if scale_in.waiting is None:
            draft.state = replace(draft.state, scale_in=replace(scale_in, waiting=draft.now))
        return
    if not draft.need_fresh():
        return
    gone = with_new_ones(draft, chosen)
    draft.state = replace(without(draft.state, gone), scale_in=replace(scale_in, waiting=None))
    for number in gone:
        draft.instances.pop(number, None)
        draft.blocked.pop(number, None)
    over = not leaving(draft) and not all(_undeletable(draft, number) for number in chosen)
    draft.wake(draft.now if over else None)  # Pods that do not end are waited for no more.


def _next(draft: Draft, scale_in: ScaleIn, going: Collection[int]) -> frozenset[int]:
    """The first ones; those that the API server does not let go come last, so that they hold up nobody."""
    policy, percent = draft.snapshot.spec.scale_in_policy, draft.policy.rolling_upgrade_policy
    limit = policy.limit(scale_in.size, percent=percent.max_batch_instance_percent)
    free = [number for number in going if not _undeletable(draft, number)]
    return frozenset((free or list(going))[:limit])


def with_new_ones(draft: Draft, olds: Collection[int]) -> frozenset[int]:
    """Those instances and the new ones that a surging batch has made to replace them."""
    return frozenset(olds).union(new for new, old in beside_each_other(draft.state).items() if old in olds)


def leaving(draft: Draft) -> frozenset[int]:
    """Instances that are no more and whose pods will end: one that does not end in its time is not waited for, nor one
    that the API server does not let go.
    """
    left = set()
    for number, pod in draft.snapshot.pods.items():
        if number in draft.state.builds or pod.uid in draft.snapshot.undeletable:
            continue
        if not pod.deleting:
            left |= set() if number in draft.instances else {number}
        elif draft.now < (due := deadlines.given_up(pod, timeout=draft.health_timeout)):
            draft.wake(due)
            left.add(number)
    return frozenset(left)


# --- the instances that stay


def _waited_for(draft: Draft, scale_in: ScaleIn, chosen: Collection[int]) -> dict[int, float | None]:
    """The instances that keep `chosen` from going, with the time until which they do; None where nobody knows."""
    gone = with_new_ones(draft, chosen)
    last = (draft.now if scale_in.waiting is None else scale_in.waiting) + 2 * draft.health_timeout
    found = {
        number: _until(draft, scale_in, instance)
        for number, instance in draft.instances.items()
        if number not in gone and not _settled(draft, instance)
    }
    late = {number: due for number, due in found.items() if draft.now < (last if due is None else min(last, due))}
    for due in late.values():
        draft.wake(last if due is None else min(last, due))
    return late


def _settled(draft: Draft, instance: Instance) -> bool:
    """Whether it is healthy and nobody is about to take its pod away."""
    rollout = draft.rollout
    in_hand = draft.state.applying | (rollout.in_progress if rollout is not None else NOBODY)
    return instance.healthy and not (instance.id in in_hand and instance.on_old_pod)


def _until(draft: Draft, scale_in: ScaleIn, instance: Instance) -> float | None:
    pod, timeout = instance.pod, draft.health_timeout
    if pod is None:
        refused = instance.id in draft.blocked or draft.refusal(instance.id) is not None
        return scale_in.started + timeout if refused else None
    if pod.deleting:
        return deadlines.given_up(pod, timeout=timeout)
    since = _unhealthy_since(pod)
    return None if instance.healthy or since is None else since + timeout


def _unhealthy_since(pod: Pod) -> float | None:
    """Since when it is not Ready; None for one that is Ready and does not count as healthy all the same."""
    return None if pod.ready else max(pod.begun, pod.ready_since or pod.begun)


# --- what is said about it


def explain(draft: Draft) -> None:
    """Say how far it is and what it waits for."""
    scale_in = draft.state.scale_in
    if scale_in is None:
        draft.shrinking = None
        return
    going, still_there = to_go(draft), leaving(draft)
    counted = len(draft.state.builds) - extra(draft.state)
    waiting = _kept_alive(draft, going) or _terminating(draft, still_there)
    if waiting is None:
        waited_for = _waited_for(draft, scale_in, _next(draft, scale_in, going)) if going else ()
        waiting = Waiting(
            SCALING_IN,
            f"Waiting for the pods of instances {tell(still_there)} to end."
            if still_there
            else f"Waiting for instances {tell(waited_for)} to become healthy."
            if waited_for
            else "",
        )
    left = f"{len(going)} of {counted} instances are to go." if going else "The last instances are going."
    draft.shrinking = replace(waiting, message=f"Scaling in: {left} {waiting.message}".rstrip())


def _kept_alive(draft: Draft, going: Collection[int]) -> Waiting | None:
    """Of those that are to go, and of those that were to go just now."""
    return deadlines.refused(draft, {n for n in draft.snapshot.pods if n in going or n not in draft.instances})


def _undeletable(draft: Draft, number: int) -> bool:
    pod = draft.snapshot.pods.get(number)
    return pod is not None and pod.uid in draft.snapshot.undeletable


def _terminating(draft: Draft, still_there: Collection[int]) -> Waiting | None:
    """Pods that do not end in the time that they asked for themselves."""
    pods = draft.snapshot.pods
    slack = deadlines.KILLING_SECONDS
    late = [n for n in sorted(still_there) if pods[n].deleting and deadlines.past_grace(draft, pods[n], slack=slack)]
    if not late:
        return None
    return Waiting(
        "PodsTerminating",
        f"The pods of instances {tell(late)} do not end: their grace period is over. A pod on a lost node stays "
        "Terminating until the node is back, or is deleted or tainted out-of-service; a finalizer keeps a pod until "
        "its owner removes it.",
        stalls=True,
    )
