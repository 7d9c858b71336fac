"""How far the API server's clock is from our monotonic one, as intervals, and the point that most of them contain.

Each response's Date header says, to the second, what a server's time was at some moment between sending the request
and receiving the response. In terms of our monotonic clock that is an interval for the offset between the two:

    date - received  <=  offset  <  date + 1 - sent

The intervals of servers that agree have a point in common. Where they do not, the point that most of them contain is
the time of the majority (K. Marzullo, 1984): how far off the others are does not matter, as it would for an average.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

DRIFT = 500e-6
"""Seconds per second that two clocks drift apart at most; the kernel slews no faster."""


@dataclass(frozen=True, slots=True)
class Offset:
    """Bounds, in seconds, of what to add to our monotonic clock to get the server's time; true at the monotonic time
    `at`.
    """

    low: float
    high: float
    at: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def drifted(self, until: float) -> "Offset":
        """The same knowledge at a later monotonic time: a little less certain."""
        spread = max(0.0, until - self.at) * DRIFT
        return Offset(self.low - spread, self.high + spread, max(self.at, until))

    def intersect(self, other: "Offset") -> "Offset | None":
        """What both say, or None if they contradict each other."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Offset(low, high, max(self.at, other.at)) if low < high else None

    def agrees(self, other: "Offset") -> bool:
        """Whether both can be true."""
        return self.low < other.high and other.low < self.high


@dataclass(frozen=True, slots=True)
class Majority:
    """The interval that the most observations contain, and how many do."""

    offset: Offset
    votes: int


def majority(seen: Iterable[Offset], *, now: float, near: Offset) -> Majority:
    """Where most of what was seen agrees; of several such places, the one nearest to `near`."""
    ends: list[tuple[float, int]] = []
    for each in seen:
        spread = max(0.0, now - each.at) * DRIFT
        ends += ((each.low - spread, 1), (each.high + spread, -1))
    ends.sort()  # At one place an interval ends before another begins: the high end is not part of it.
    best = Majority(near, 0)
    votes = 0
    for (place, change), (following, _) in pairwise(ends):
        votes += change
        if votes < max(best.votes, 1) or following <= place:
            continue
        found = Majority(Offset(place, following, now), votes)
        if votes > best.votes or _distance(found, near) < _distance(best, near):
            best = found
    return best


def _distance(found: Majority, near: Offset) -> float:
    return abs(found.offset.middle - near.middle)
