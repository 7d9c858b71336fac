"""By when an instance that is being replaced has to be healthy (docs/behaviour.md, Rolling upgrade).

A deadline counts from the batch, or from the request to replace the instance, never from the current pod. So a version
whose pods are evicted again and again is judged like a version that never becomes ready.

| the instance's pod | its clock |
|---|---|
| the old one, not deleted yet | has not begun |
| the old one, whose delete or change the API server refuses | began with the batch |
| the old one, terminating | has not begun; the instance fails a health timeout after the grace period |
| none, and the operator is about to create it | has not begun |
| none, and it may not or cannot be created | began when this was first seen |
| a new one | began with the first new pod, whatever became of it |
| a new one that others delete (a drain, a person) | stops, and starts again with the next pod, at most twice |

Invariant: an instance in hand has a deadline whenever only somebody else's action can make it healthy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from scaleset.planner.facts import Facts
from scaleset.planner.instances import Pod
from scaleset.planner.ranges import abridged
from scaleset.planner.state import Clock, Waiting
from scaleset.planner.step import Step

DELETE_REFUSED = "DeleteRefused"
TERMINATING = "PodsTerminating"
KILLING_SECONDS = 5.0
"""Seconds after its grace period in which a pod may normally still be there: a process that ignores SIGTERM is killed
at the end of the grace period, and that takes a moment.
"""
MOST_LOST = 2
"""How often the clock starts again because others deleted the pod, so that a drain condemns no version."""


def wind(facts: Facts) -> Step:
    """Start, stop or keep the clock of every instance in hand; clocks of other instances are dropped."""
    in_batch = facts.in_batch
    clocks = {number: _in_batch(facts, number) for number in in_batch & facts.instances.keys()}
    asked: dict[int, Clock | None] = {
        number: facts.state.clocks.get(number) or Clock(facts.now) for number in facts.state.applying - in_batch
    }
    known: Mapping[int, Clock] = {n: clock for n, clock in {**clocks, **asked}.items() if clock is not None}
    return facts.step(replace(facts.state, clocks=known) if known != facts.state.clocks else None)


def forget(facts: Facts) -> Step:
    """Drop the clocks of instances that are no longer in hand after this decision."""
    clocks, in_hand = facts.state.clocks, facts.in_hand
    if not clocks.keys() - in_hand:
        return facts.step()
    return facts.step(replace(facts.state, clocks={n: clock for n, clock in clocks.items() if n in in_hand}))


def of_batch(facts: Facts, number: int, *, started: float, timeout: float) -> float | None:
    """Deadline of an instance in a batch that began at `started`; None while its old pod is about to be deleted."""
    instance, clock = facts.instances[number], facts.state.clocks.get(number)
    pod, build = instance.pod, instance.build
    if clock is not None and clock.since is not None:
        return clock.since + timeout
    if pod is not None and pod.deleting:
        return given_up(pod, timeout=timeout)
    old = pod is not None and not (build is not None and build.same_as(pod))
    if old and (instance.held or number in facts.blocked):
        return started + timeout
    return None


def given_up(pod: Pod, *, timeout: float) -> float:
    """When a terminating pod counts as stuck: on a lost node, or kept by a finalizer."""
    return (pod.deletion_due if pod.deletion_due is not None else pod.begun) + timeout


def past_grace(facts: Facts, pod: Pod) -> bool:
    """Whether the grace period of a terminating pod is over."""
    return facts.now >= given_up(pod, timeout=0.0)


def terminating(facts: Facts, numbers: Iterable[int], *, said: str) -> Waiting | None:
    """The wait for pods that are still there after their own grace period. `said` is the sentence about these
    instances, with {} for their ids.
    """
    pods = facts.snapshot.pods
    late = [
        number
        for number in sorted(numbers)
        if (pod := pods.get(number)) is not None
        and pod.deleting
        and facts.now >= given_up(pod, timeout=KILLING_SECONDS)
    ]
    if not late:
        return None
    text = (
        f"{said.format(abridged(late))}: their grace period is over. A pod on a lost node stays Terminating until the "
        "node is back, or is deleted or tainted out-of-service; a finalizer keeps a pod until its owner removes it."
    )
    return Waiting(TERMINATING, text, stalls=True)


def refused(facts: Facts, numbers: Iterable[int]) -> Waiting | None:
    """The API server's reason for refusing to delete the pods of those instances, if it has refused."""
    words = {
        number: facts.snapshot.delete_errors[pod.uid]
        for number in sorted(numbers)
        if (pod := facts.snapshot.pods.get(number)) is not None and pod.uid in facts.snapshot.delete_errors
    }
    if not words:
        return None
    first = min(words)
    done = "changed in place" if facts.only_in_place(first) else "deleted"
    text = f"The API server does not let the pods of instances {abridged(words)} be {done}: {words[first]}"
    return Waiting(DELETE_REFUSED, text, stalls=True)


def overdue(facts: Facts) -> frozenset[int]:
    """Instances replaced at once whose time is over: nothing waits for them any more, and the gate counts their actual
    health.
    """
    late = set()
    for number in facts.state.applying:
        clock = facts.state.clocks.get(number)
        due = (facts.now if clock is None or clock.since is None else clock.since) + facts.health_timeout
        if facts.now >= due:
            late.add(number)
    return frozenset(late)


def _in_batch(facts: Facts, number: int) -> Clock | None:
    known = facts.state.clocks.get(number)
    instance = facts.instances[number]
    pod, build = instance.pod, instance.build
    lost = known.lost if known is not None else 0
    if pod is None:
        counts = known is not None and known.since is not None
        kept = number in facts.blocked or number in facts.snapshot.refusals  # not by an operator that was down
        return Clock(facts.now, lost) if kept and not counts else known
    if build is None or not build.same_as(pod):
        return None
    if pod.deleting and not pod.ended:
        counted = known is not None and known.since is None
        return known if counted or lost >= MOST_LOST else Clock(None, lost + 1)
    if known is None or known.since is None:
        return Clock(pod.begun, lost)
    return known if known.since <= pod.begun else Clock(pod.begun, lost)  # The recorded time was rounded up.
