"""Whose turn it is to roll, where a policy lets only so many sets roll at once (`maxConcurrentScaleSets`).

What sets are doing is in their statuses (`controllers.lines`). A set that has just decided to start is not there yet,
so it is remembered from its decision until its status is written: nothing is awaited between looking and deciding, so
two sets never take the same place.

Whoever gives a place away, or leaves the queue, wakes the first of those that wait: the lines tell of each such change,
the answer to our own write included. What they cannot tell of is a decision that was not written down after all.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scaleset.controllers.caches import Caches
from scaleset.controllers.lines import policy_of, rolls, waiting_since
from scaleset.planner.snapshot import Turn
from scaleset.planner.state import State
from scaleset.records.custom_objects import ScaleSetObject
from scaleset.records.projections import Key


class Turns:
    """Counts the sets of each policy that roll, and those that wait. The cost is that of a search in the line,
    whatever its length.
    """

    def __init__(self, caches: Caches, *, wake: Callable[[Key], None]) -> None:
        self._caches = caches
        self._wake = wake
        self._deciding: set[Key] = set()
        """As many as there are workers, at most."""

    def turn(self, seen: ScaleSetObject) -> Turn | None:
        """Where the set stands among those of its policy; None where there is no limit."""
        policy = policy_of(seen)
        if policy is None or limit(self._caches, policy) is None:
            return None
        lines, mine = self._caches.relations.lines, (seen.namespace, seen.name)
        rolling = lines.rolling(policy)
        starting = {each for each in self._deciding if each != mine and self._counts(each, policy)}.difference(rolling)
        since = waiting_since(seen.status)
        place = (since, seen.name) if since is not None else None
        ahead = lines.ahead(policy, place, but={mine, *starting})
        return Turn(len(rolling) - (mine in rolling) + len(starting), ahead)

    def _counts(self, key: Key, policy: Key) -> bool:
        known = self._caches.scale_sets.get(*key)
        return known is not None and not known.deleting and policy_of(known) == policy

    @contextmanager
    def taken(self, seen: ScaleSetObject, state: State) -> Iterator[None]:
        """While the plan is carried out, the set counts as what it is about to be."""
        key = (seen.namespace, seen.name)
        if state.rollout is not None and state.rollout.running and state.rollout.started_rolling:
            self._deciding.add(key)
        try:
            yield
        finally:
            if key in self._deciding:
                self._deciding.discard(key)
                self._unless_written(seen, key)

    def _unless_written(self, seen: ScaleSetObject, key: Key) -> None:
        """A set that does not roll after all has kept its place from others."""
        stored, policy = self._caches.scale_sets.get(*key), policy_of(seen)
        if policy is not None and (stored is None or not rolls(stored.status)):
            for waiting in front(self._caches, policy):
                self._wake(waiting)


def limit(caches: Caches, policy: Key) -> int | None:
    """How many sets of that policy may roll at once; None for any number, and where it is not known."""
    found = caches.policies.get(*policy)
    return found.spec.max_concurrent_scale_sets if found is not None and found.spec is not None else None


def front(caches: Caches, policy: Key) -> list[Key]:
    """The sets of that policy that wait and may go now, and some behind them."""
    return caches.relations.lines.front(policy, limit(caches, policy))
