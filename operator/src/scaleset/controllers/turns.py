"""Whose turn it is to roll, where a policy lets only so many sets roll at once (`maxConcurrentScaleSets`).

What sets are doing is in their statuses. A set that has just decided to start is not there yet, so it is remembered
from its decision until its status is written: nothing is awaited between looking and deciding, so two sets never take
the same place.

Whoever gives a place away wakes those that wait: the answer to our own write is known at once, and the watch that
repeats it later is no news.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from scaleset.controllers.caches import Caches
from scaleset.planning.snapshot import Turn
from scaleset.planning.state import State
from scaleset.records.custom_objects import ScaleSetObject
from scaleset.records.projections import Key, seconds


class Turns:
    """Counts the sets of each policy that roll, and those that wait."""

    def __init__(self, caches: Caches, *, wake: Callable[[Key], None]) -> None:
        self._caches = caches
        self._wake = wake
        self._deciding: set[Key] = set()

    def turn(self, seen: ScaleSetObject) -> Turn | None:
        """Where the set stands among those of its policy; None where there is no limit."""
        name = policy_name(seen)
        policy = self._caches.policies.get(seen.namespace, name) if name is not None else None
        if policy is None or policy.spec is None or policy.spec.max_concurrent_scale_sets is None:
            return None
        since = seconds(seen.status.get("waitingSince"))
        rolling = ahead = 0
        for other in self._caches.scale_sets.all():
            if other.uid == seen.uid or other.namespace != seen.namespace or policy_name(other) != name:
                continue
            if other.deleting:  # nobody decides about it any more, so what it waits for would never end
                continue
            waits = seconds(other.status.get("waitingSince"))
            if (other.namespace, other.name) in self._deciding or rolls(other.status):
                rolling += 1
            elif waits is not None and (since is None or (waits, other.name) < (since, seen.name)):
                ahead += 1
        return Turn(rolling, ahead)

    @contextmanager
    def taken(self, seen: ScaleSetObject, state: State) -> Iterator[None]:
        """While the plan is carried out, the set counts as what it is about to be."""
        key = (seen.namespace, seen.name)
        rolling = state.rollout is not None and state.rollout.running and state.rollout.started_rolling
        if rolling:
            self._deciding.add(key)
        try:
            yield
        finally:
            self._deciding.discard(key)
            waited = bool(seen.status.get("waitingSince"))
            if (rolls(seen.status) and not rolling) or (waited and state.waiting_since is None):
                self._wake_waiting(seen)

    def _wake_waiting(self, seen: ScaleSetObject) -> None:
        name = policy_name(seen)
        for other in self._caches.scale_sets.all():
            waits = other.namespace == seen.namespace and other.status.get("waitingSince")
            if waits and other.uid != seen.uid and policy_name(other) == name:
                self._wake((other.namespace, other.name))


def policy_name(seen: ScaleSetObject) -> str | None:
    """The policy that a set refers to."""
    reference = seen.spec.upgrade_policy_ref if seen.spec is not None else None
    return reference.name if reference is not None else None


def rolls(status: Mapping[str, Any]) -> bool:
    """Whether a rollout of the set has admitted a batch and not ended."""
    rollout = status.get("rollingUpgrade")
    if not isinstance(rollout, Mapping):
        return False
    running = rollout.get("runningStatus")
    code = running.get("code") if isinstance(running, Mapping) else None
    return code == "RollingForward" and bool(rollout.get("batch") or rollout.get("batchesDone"))
