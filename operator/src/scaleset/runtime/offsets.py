"""Offsets of the API server's clock from the own monotonic clock, as intervals, and the point that most of them
contain.

Each response's Date header is the server's time, in whole seconds, at some moment between sending the request and
receiving the response. This gives an interval for the offset from the monotonic clock:

    date - received  <=  offset  <  date + 1 - sent

The intervals of servers that agree have a point in common. Where they do not, the point that most of them contain is
the time of the majority (K. Marzullo, 1984). Unlike in an average, the error of the others does not matter.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

DRIFT = 500e-6
"""Largest drift of two clocks in seconds per second; the kernel slews no faster."""


@dataclass(frozen=True, slots=True)
class Offset:
    """Bounds in seconds of the offset from the monotonic clock to the server's time, at the monotonic time `at`."""

    low: float
    high: float
    at: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def drifted(self, until: float) -> "Offset":
        """The bounds at a later monotonic time, slightly wider."""
        spread = max(0.0, until - self.at) * DRIFT
        return Offset(self.low - spread, self.high + spread, max(self.at, until))

    def intersect(self, other: "Offset") -> "Offset | None":
        """The intersection, or None if the two contradict each other."""
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
    """The interval on which most observations agree; of several ones, the nearest to `near`."""
    ends: list[tuple[float, int]] = []
    for each in seen:
        spread = max(0.0, now - each.at) * DRIFT
        ends += ((each.low - spread, 1), (each.high + spread, -1))
    ends.sort()  # At the same point, ends sort before beginnings: the high end is not part of an interval.
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
