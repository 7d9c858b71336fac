"""The API server's clock. Deadlines count from times that the API server wrote, so they are judged by its clock.

Each response's Date header is the server's time, in whole seconds, at some moment between sending the request and
receiving the response. This gives an interval for the offset from the own monotonic clock:

    date - received  <=  offset  <  date + 1 - sent

Intersecting the intervals narrows the offset to well below a second. Between responses the monotonic clock continues,
so a jump of this machine's wall clock changes nothing; the interval widens by the largest drift of two clocks.

Several API servers may stand behind one address, and their clocks may differ. The accepted offset is the point that
most of the last responses contain (K. Marzullo, 1984). Unlike in an average, the error of the others does not matter.
It is given up for another point in two cases only:

- The last CONFIRMATIONS responses all contradict it, and most of them agree. So a real step of the server's clock is
  accepted soon.
- Far more of the last responses agree with the other point, beyond the chance of an even split between servers. So a
  first response from a single wrong server is corrected, and two servers that disagree do not alternate.

Invariant: `now()` never goes back, but for a step of more than STANDSTILL_SECONDS. A smaller one is waited out.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

DRIFT = 500e-6
"""Largest drift of two clocks in seconds per second; the kernel slews no faster."""
CONFIRMATIONS = 24
"""Responses in a row that must contradict the accepted offset before it is given up: some seconds of a rollout, a
minute of lease renewals.
"""
WINDOW = 256
"""Number of remembered responses."""
DEVIATIONS = 4.0
"""Least lead of votes for another point over the accepted one, in standard deviations of a fair coin."""
NEAR_SECONDS = 1.0
"""Least distance of two different times: a header has whole seconds."""
STANDSTILL_SECONDS = 10.0
"""Longest standstill of `now()` until the server's clock has caught up. Deadlines are minutes."""


class Offset(NamedTuple):
    """Bounds of the offset from the monotonic clock to the server's time, in seconds."""

    low: float
    high: float
    at: float
    """The monotonic time at which they hold."""

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
    for (point, change), (following, _) in pairwise(ends):
        votes += change
        if votes < max(best.votes, 1) or following <= point:
            continue
        found = Majority(Offset(point, following, now), votes)
        if votes > best.votes or _distance(found, near) < _distance(best, near):
            best = found
    return best


def _distance(found: Majority, near: Offset) -> float:
    return abs(found.offset.middle - near.middle)


class ServerClock:
    """The API server's time, in seconds since 1970. Feed it with `Transport.on_date`.

    Until the first response it is this machine's wall clock; no decision is taken before that.
    """

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._offset: Offset | None = None
        self._seen: deque[Offset] = deque(maxlen=WINDOW)
        self._contradictions = 0
        self._latest = 0.0
        self.steps = 0
        """How often the accepted time was replaced by another one."""

    @property
    def known(self) -> bool:
        """Whether a response has given the server's time."""
        return self._offset is not None

    @property
    def uncertainty(self) -> float:
        """Seconds that `now()` may be wrong by, in either direction. Infinite before the first response."""
        if self._offset is None:
            return float("inf")
        offset = self._offset.drifted(self._monotonic())
        return (offset.high - offset.low) / 2

    def now(self) -> float:
        """Seconds since 1970 by the server's clock."""
        if self._offset is None:
            return self._wall()
        # A narrower interval may lie a little earlier: stand still until time has caught up.
        self._latest = max(self._latest, self._monotonic() + self._offset.middle)
        return self._latest

    def observe(self, date_header: str, sent_monotonic: float, received_monotonic: float) -> None:
        """Learn from one response. A header that is no date is ignored."""
        try:
            date = parsedate_to_datetime(date_header).timestamp()
        except ValueError:
            return
        seen = Offset(date - received_monotonic, date + 1.0 - sent_monotonic, received_monotonic)
        self._seen.append(seen)
        if self._offset is None:
            self._offset = seen
            return
        known = self._offset.drifted(received_monotonic)
        if (narrowed := known.intersect(seen)) is not None:
            self._offset, self._contradictions = narrowed, 0
        else:
            self._contradicted(known, seen)

    def _contradicted(self, known: Offset, seen: Offset) -> None:
        self._contradictions += 1
        now = seen.at
        if self._contradictions >= CONFIRMATIONS:
            row = list(self._seen)[-self._contradictions :]
            found = majority(row, now=now, near=known)
            if 2 * found.votes > len(row):
                self._seen = deque(row, maxlen=WINDOW)
                self._step(known, found.offset)
                return
        found = majority(self._seen, now=now, near=known)
        if abs(found.offset.middle - known.middle) <= NEAR_SECONDS:
            self._offset = found.offset
            self._contradictions *= not found.offset.agrees(seen)
        elif found.votes - self._support(known) >= DEVIATIONS * sqrt(len(self._seen)):
            self._step(known, found.offset)

    def _support(self, known: Offset) -> int:
        return sum(each.drifted(known.at).agrees(known) for each in self._seen)

    def _step(self, known: Offset, found: Offset) -> None:
        if known.middle - found.middle > STANDSTILL_SECONDS:
            self._latest = 0.0
        self._offset, self._contradictions = found, 0
        self.steps += 1
