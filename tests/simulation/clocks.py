"""By when an instance in a batch has to be healthy, worked out from what is written down and its pod.

| the instance's pod | its time counts from |
|---|---|
| the old one, which the API server does not let be replaced | the batch |
| the old one, terminating | the end of its grace period |
| none | what its clock says, which begins when the pod may not be created |
| a new one | what its clock says: the first of them |
| a new one that others deleted | the end of its grace period, and the clock begins anew with the next, at most twice |
"""

import math

from scaleset.planner.instances import Build, Pod
from scaleset.planner.state import Clock

MOST_LOST = 2


def counts_from(
    build: Build, pod: Pod | None, clock: Clock | None, *, started: float, refused: bool = False
) -> float | None:
    """From when the instance has the health timeout; None where its time has not begun. `refused`: its pod may not be
    replaced. The clock is the one that was written down before this look, which may have seen the pod first.
    """
    since = clock.since if clock is not None else None
    if pod is None:
        return since
    if not build.same_as(pod):
        if pod.deleting:
            return pod.deletion_due
        return started if refused else None
    if pod.deleting and not pod.ended and (clock is None or clock.since is None or clock.lost < MOST_LOST):
        return pod.deletion_due
    return begun(pod) if since is None else min(since, begun(pod))


def begun(pod: Pod) -> float:
    """When the pod began with the build that it has."""
    return pod.created if pod.change is None else pod.change.at


def goes_on(before: Clock | None, after: Clock | None, build: Build, *, pod: Pod | None, now: float) -> bool:
    """Whether the clock of an instance that stays in hand may go on like that, with that pod in view."""
    if after is None:
        return before is None or (pod is not None and not build.same_as(pod))
    lost = before.lost if before is not None else 0
    if before is not None and after == before:
        return True
    if after.since is None:
        taken = pod is not None and pod.deleting and not pod.ended and build.same_as(pod)
        return taken and after.lost == lost + 1 <= MOST_LOST and (before is None or before.since is not None)
    if after.lost != lost:
        return False
    begins = before is None or before.since is None
    if pod is None:
        return begins and after.since <= math.ceil(now)
    first = begins or before is None or before.since is None or before.since > begun(pod)
    return build.same_as(pod) and after.since == begun(pod) and first
