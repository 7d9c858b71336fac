"""The concurrency limit of a policy: which of its sets may roll (`maxConcurrentScaleSets`).

The statuses show which sets roll (`controllers.lines`). A set that has just decided to start is not among them yet, so
it is remembered from its decision until its status is written. Nothing is awaited between observing and deciding, so
two sets never take the same place.

A set that gives up its place, or leaves the queue, wakes the first waiting sets. The lines report each such change,
including the answer to an own write. They cannot report a decision that was never written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field

from scaleset.controllers.caches import Caches
from scaleset.controllers.lines import policy_of, rolls, waiting_since
from scaleset.kube.resources import Key, Wake
from scaleset.planner.snapshot import QueuePosition
from scaleset.planner.state import State
from scaleset.records.custom_objects import ScaleSetObject


@dataclass(eq=False)
class ConcurrencyLimit:
    """Counts the rolling and the waiting sets of each policy. The cost is one search in the line."""

    caches: Caches
    _: KW_ONLY
    wake: Wake
    _deciding: set[Key] = field(default_factory=set, init=False)
    """At most as many as there are workers."""

    def turn(self, seen: ScaleSetObject) -> QueuePosition | None:
        """Position of the set among the sets of its policy; None without a limit."""
        policy = policy_of(seen)
        if policy is None or limit(self.caches, policy) is None:
            return None
        lines, mine = self.caches.relations.lines, (seen.namespace, seen.name)
        rolling = lines.rolling(policy)
        starting = {each for each in self._deciding if each != mine and self._counts(each, policy)}.difference(rolling)
        since = waiting_since(seen.status)
        position = (since, seen.name) if since is not None else None
        ahead = lines.ahead(policy, position, but={mine, *starting})
        return QueuePosition(len(rolling) - (mine in rolling) + len(starting), ahead)

    def _counts(self, key: Key, policy: Key) -> bool:
        known = self.caches.scale_sets.get(*key)
        return known is not None and not known.deleting and policy_of(known) == policy

    @contextmanager
    def taken(self, seen: ScaleSetObject, state: State) -> Iterator[None]:
        """While a plan with a rollout is carried out, the set counts as rolling."""
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
        """Wake other sets if the plan was not written: the set has kept a place from them."""
        stored, policy = self.caches.scale_sets.get(*key), policy_of(seen)
        if policy is not None and (stored is None or not rolls(stored.status)):
            for waiting in front(self.caches, policy):
                self.wake(waiting)


def limit(caches: Caches, policy: Key) -> int | None:
    """Number of sets of that policy that may roll at once; None for any number, and if it is not known."""
    found = caches.policies.get(*policy)
    return found.spec.max_concurrent_scale_sets if found is not None and found.spec is not None else None


def front(caches: Caches, policy: Key) -> list[Key]:
    """The waiting sets of that policy that may roll now, and some behind them."""
    return caches.relations.lines.front(policy, limit(caches, policy))
