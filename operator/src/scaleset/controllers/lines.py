"""The rolling sets of each policy, and the waiting ones in the order in which they began to wait.

Updated with every change of a set (kube.store), for policies with a concurrency limit.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Mapping
from typing import Any

from scaleset.kube.resources import Key, Wake
from scaleset.records.custom_objects import ScaleSetObject
from scaleset.records.projections import seconds

NEAR = 20
"""Number of sets at the front of a line that are woken by each change, since their status shows their position. Sets
behind them are woken once they get there; otherwise each of thousands would be written.
"""

Since = tuple[float, str]
"""Time since which a set waits, and its name: the order of a line."""
_Position = tuple[Key, str, float | None]
"""Policy and name of a set that rolls (no time), or waits since that time."""


class Lines:
    """Follows the sets. `on_change` gets the policy (namespace and name) of every set that began or ended to roll or to
    wait.
    """

    def __init__(self, *, on_change: Wake) -> None:
        self._on_change = on_change
        self._rolling: dict[Key, set[Key]] = {}
        self._waiting: dict[Key, list[Since]] = {}
        self._positions: dict[Key, _Position] = {}

    def rolling(self, policy: Key) -> Collection[Key]:
        """The rolling sets of that policy; read the view at once."""
        return self._rolling.get(policy, frozenset())

    def ahead(self, policy: Key, mine: Since | None, *, but: Collection[Key]) -> int:
        """Number of sets that began to wait earlier, without the given sets. For a set that does not wait yet, all of
        them.
        """
        line = self._waiting.get(policy, [])
        positions = [
            position for each in but if (position := self._positions.get(each)) is not None and position[0] == policy
        ]
        passed = sum(since is not None and (mine is None or (since, name) < mine) for _, name, since in positions)
        return (len(line) if mine is None else bisect_left(line, mine)) - passed

    def front(self, policy: Key, limit: int | None) -> list[Key]:
        """The waiting sets that may roll now if `limit` sets may roll, and some behind them."""
        free = 0 if limit is None else limit - len(self.rolling(policy))
        return [(policy[0], name) for _, name in self._waiting.get(policy, [])[: max(NEAR, free)]]

    def follow(self, key: Key, _: ScaleSetObject | None, after: ScaleSetObject | None, /) -> None:
        left, joined = self._positions.get(key), _position(after)
        if left == joined:
            return
        if left is not None:
            self._leave(*self._positions.pop(key))
        if joined is not None:
            self._join(*joined)
            self._positions[key] = joined
        for policy in {position[0] for position in (left, joined) if position is not None}:
            self._on_change(policy)

    def _join(self, policy: Key, name: str, since: float | None) -> None:
        if since is None:
            self._rolling.setdefault(policy, set()).add((policy[0], name))
        else:
            insort(self._waiting.setdefault(policy, []), (since, name))

    def _leave(self, policy: Key, name: str, since: float | None) -> None:
        if since is None:
            rolling = self._rolling[policy]
            rolling.discard((policy[0], name))
            if not rolling:
                del self._rolling[policy]
            return
        line = self._waiting[policy]
        del line[bisect_left(line, (since, name))]
        if not line:
            del self._waiting[policy]


def _position(seen: ScaleSetObject | None) -> _Position | None:
    """Position of a set; None for a set that neither rolls nor waits. A set that is being deleted has none: it gets no
    more decisions, so its wait would never end.
    """
    policy = policy_of(seen) if seen is not None else None
    if seen is None or policy is None or seen.deleting:
        return None
    if rolls(seen.status):
        return policy, seen.name, None
    since = waiting_since(seen.status)
    return (policy, seen.name, since) if since is not None else None


def policy_of(seen: ScaleSetObject) -> Key | None:
    """Namespace and name of the policy that a set refers to."""
    reference = seen.spec.upgrade_policy_ref if seen.spec is not None else None
    return (seen.namespace, reference.name) if reference is not None else None


def waiting_since(status: Mapping[str, Any]) -> float | None:
    """When the set began to wait for its turn. A status may be written by anybody."""
    since = status.get("waitingSince")
    return seconds(since) if isinstance(since, str) else None


def rolls(status: Mapping[str, Any]) -> bool:
    """Whether a rollout of the set has admitted a batch and not ended."""
    rollout = status.get("rollingUpgrade")
    if not isinstance(rollout, Mapping):
        return False
    running = rollout.get("runningStatus")
    code = running.get("code") if isinstance(running, Mapping) else None
    return code == "RollingForward" and bool(rollout.get("batch") or rollout.get("batchesDone"))
